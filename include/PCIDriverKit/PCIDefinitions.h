/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What PCI itself defines: offsets in configuration space, bits of its registers, BAR types and
 * capability numbers (PCI Local Bus 3.0, chapter 6; PCI Express 4.0, 7.5 to 7.7). Declarations
 * only: parsed by C, C++ and iig alike.
 */

enum { // byte offsets in configuration space
	kIOPCIConfigurationOffsetVendorID = 0x00,
	kIOPCIConfigurationOffsetDeviceID = 0x02,
	kIOPCIConfigurationOffsetCommand = 0x04,
	kIOPCIConfigurationOffsetStatus = 0x06,
	kIOPCIConfigurationOffsetRevisionID = 0x08,
	kIOPCIConfigurationOffsetClassCode = 0x09, // three bytes
	kIOPCIConfigurationOffsetHeaderType = 0x0e,
	kIOPCIConfigurationOffsetBaseAddress0 = 0x10,
	kIOPCIConfigurationOffsetBaseAddress1 = 0x14,
	kIOPCIConfigurationOffsetBaseAddress2 = 0x18,
	kIOPCIConfigurationOffsetBaseAddress3 = 0x1c,
	kIOPCIConfigurationOffsetBaseAddress4 = 0x20,
	kIOPCIConfigurationOffsetBaseAddress5 = 0x24,
	kIOPCIConfigurationOffsetSubSystemVendorID = 0x2c,
	kIOPCIConfigurationOffsetSubSystemID = 0x2e,
	kIOPCIConfigurationOffsetExpansionROMBase = 0x30,
	kIOPCIConfigurationOffsetCapabilitiesPtr = 0x34,
	kIOPCIConfigurationOffsetInterruptLine = 0x3c,
	kIOPCIConfigurationOffsetInterruptPin = 0x3d,
};

enum { // the command register
	kIOPCICommandIOSpace = 0x0001,
	kIOPCICommandMemorySpace = 0x0002,
	kIOPCICommandBusLead = 0x0004,
	kIOPCICommandInterruptDisable = 0x0400,
};

enum { // the status register
	kIOPCIStatusCapabilities = 0x0010,
};

enum { // GetBARInfo's barType: the low bits of the register
	kPCIBARTypeM32 = 0x0,
	kPCIBARTypeIO = 0x1,
	kPCIBARTypeM64 = 0x4,
	kPCIBARTypeM32PF = 0x8,
	kPCIBARTypeM64PF = 0xc,
};

enum { // FindPCICapability: an extended capability is asked for by its negated number
	kIOPCICapabilityIDPowerManagement = 0x01,
	kIOPCICapabilityIDMSI = 0x05,
	kIOPCICapabilityIDVendorSpecific = 0x09,
	kIOPCICapabilityIDPCIExpress = 0x10,
	kIOPCICapabilityIDMSIX = 0x11,
};

enum { // types of interrupts: bits that GetInterruptType adds to kIOInterruptTypeEdge
	kIOInterruptTypePCIMessaged = 0x10000,  // a message, MSI or MSI-X
	kIOInterruptTypePCIMessagedX = 0x20000, // MSI-X
};
