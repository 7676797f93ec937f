/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a C++ header might bring into an interface. */
#ifdef __cplusplus
class Foreign
{
	int value;
};
#endif
