/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the driver and its applications agree on: the methods of UsbReaderUserClient. */

enum {
	/* No input; out: bytes, transfers, errors, nanoseconds spent reading. */
	kUsbReaderMethodGetStatistics = 0,
	/* Asynchronous. In: a number of bytes. Completes once so many more have been read, with
	 * bytes, transfers and errors. The driver reads from the first such call of an application
	 * until the last application that made one has gone. */
	kUsbReaderMethodNotifyAfter = 1,
	kUsbReaderMethodCount,
};

enum { kUsbReaderStatisticsCount = 4 };
