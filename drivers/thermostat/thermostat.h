/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an application may ask of the Thermostat driver. Temperatures are thousandths of a degree
 * Celsius. */
enum {
	THERMOSTAT_SET_TARGET,  // in: the temperature to keep
	THERMOSTAT_PASS_MINUTE, // asynchronous; completes with the temperature, and 1 while heating
	THERMOSTAT_METHODS,
};
