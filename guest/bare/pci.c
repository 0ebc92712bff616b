// SPDX-License-Identifier: MIT OR Apache-2.0
#include "pci.h"

#include "cpu.h"

#define ECAM 0xb0000000UL

struct function root_port, card;

uint64_t get(uint64_t address, unsigned int bytes)
{
	uint64_t value = 0;

	switch (bytes) {
	case 1:
		__asm__ volatile("movzbl (%1), %k0" : "=r"(value) : "r"(address) : "memory");
		break;
	case 2:
		__asm__ volatile("movzwl (%1), %k0" : "=r"(value) : "r"(address) : "memory");
		break;
	case 4:
		__asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(address) : "memory");
		break;
	default:
		__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
	}
	return value;
}

void set(uint64_t address, unsigned int bytes, uint64_t value)
{
	switch (bytes) {
	case 1:
		__asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(address) : "memory");
		break;
	case 2:
		__asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(address) : "memory");
		break;
	case 4:
		__asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(address) : "memory");
		break;
	default:
		__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(address) : "memory");
	}
}

void enable_ecam(void)
{
	/* PCIEXBAR of the host bridge, by the old way: 256 MiB, enabled. */
	out32(0xcf8, 0x80000000U | 0x64);
	out32(0xcfc, 0);
	out32(0xcf8, 0x80000000U | 0x60);
	out32(0xcfc, (uint32_t)ECAM | 1);
}

static uint64_t config_address(struct function f, unsigned int offset)
{
	return ECAM | (uint64_t)f.bus << 20 | (uint64_t)f.slot << 15 | offset;
}

uint32_t config_get(struct function f, unsigned int offset, unsigned int bytes)
{
	return (uint32_t)get(config_address(f, offset), bytes);
}

void config_set(struct function f, unsigned int offset, unsigned int bytes, uint32_t value)
{
	set(config_address(f, offset), bytes, value);
}

unsigned int find_capability(struct function f, uint8_t id)
{
	unsigned int place = config_get(f, PCI_CAPABILITIES, 1) & ~3U;

	for (unsigned int n = 0; place && n < 48; n++) {
		if (config_get(f, place, 1) == id)
			return place;
		place = config_get(f, place + 1, 1) & ~3U;
	}
	return 0;
}

bool enumerate(void)
{
	for (uint8_t slot = 0; slot < 32; slot++) {
		struct function f = { 0, slot };

		if (config_get(f, PCI_ID, 4) == ~0U)
			continue;
		if ((config_get(f, PCI_HEADER_TYPE, 1) & 0x7f) != 1)
			continue;
		root_port = f;
		/* Primary, secondary and subordinate bus. */
		config_set(f, PCI_BUSES, 4, 0x00010100);
		card = (struct function){ 1, 0 };
		return config_get(card, PCI_ID, 4) != ~0U;
	}
	return false;
}

void place_card(void)
{
	config_set(card, PCI_COMMAND, 2, 0);
	/* Base and limit in MiB; the prefetchable ones are of 64 bits. */
	config_set(root_port, PCI_MEMORY_WINDOW, 4,
		   LOW_WINDOW >> 16 | ((LOW_WINDOW + LOW_BYTES - 1) & 0xfff00000U));
	config_set(root_port, PCI_PREFETCH_WINDOW, 4,
		   (uint32_t)HIGH_WINDOW >> 16 |
			   ((uint32_t)(HIGH_WINDOW + HIGH_BYTES - 1) & 0xfff00000U));
	config_set(root_port, PCI_PREFETCH_UPPER, 4, HIGH_WINDOW >> 32);
	config_set(root_port, PCI_PREFETCH_UPPER + 4, 4, (HIGH_WINDOW + HIGH_BYTES - 1) >> 32);
	config_set(root_port, PCI_COMMAND, 2, PCI_MEMORY | PCI_BUS_MASTER);
	config_set(card, PCI_BAR, 4, (uint32_t)BAR0);
	config_set(card, PCI_BAR + 8, 4, (uint32_t)BAR2);
	config_set(card, PCI_BAR + 12, 4, BAR2 >> 32);
	config_set(card, PCI_BAR + 16, 4, (uint32_t)BAR4);
	config_set(card, PCI_COMMAND, 2, PCI_MEMORY | PCI_BUS_MASTER);
}
