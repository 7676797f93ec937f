/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a connection keeps of the calls that were submitted and not waited for yet (dext_call_submit
 * in <opendext/client.h>). */

struct submissions;

void submissions_free(struct submissions *submissions); // NULL is ignored
