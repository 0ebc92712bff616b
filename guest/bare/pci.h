/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Configuration space, the root port and the card below it, as firmware sets them up.
 */
#ifndef PCI_H
#define PCI_H

#include <stdbool.h>
#include <stdint.h>

/* Where the BARs go: the ports' windows, and above 4 GiB where start.S maps a GiB. */
#define LOW_WINDOW 0xc0000000U
#define LOW_BYTES 0x00200000U
#define HIGH_WINDOW 0x800000000UL
#define HIGH_BYTES 0x00200000UL

/* PCI base specification, chapter 7. */
#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define   PCI_MEMORY 0x2
#define   PCI_BUS_MASTER 0x4
#define PCI_CLASS 0x08
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR 0x10
#define PCI_BUSES 0x18
#define PCI_MEMORY_WINDOW 0x20
#define PCI_PREFETCH_WINDOW 0x24
#define PCI_PREFETCH_UPPER 0x28
#define PCI_CAPABILITIES 0x34
#define PCI_BRIDGE_CONTROL 0x3e
#define   PCI_BUS_RESET 0x40
#define CAP_EXPRESS 0x10
#define   EXPRESS_CONTROL 0x08
#define     EXPRESS_FLR 0x8000
#define   EXPRESS_LINK_STATUS 0x12
#define CAP_MSIX 0x11
#define   MSIX_CONTROL 0x02
#define     MSIX_ENABLE 0x8000
#define     MSIX_MASK_ALL 0x4000
#define AER 0x100
#define   AER_UNCORRECTABLE 0x04
#define     AER_COMPLETION_TIMEOUT 0x4000

struct function {
	uint8_t bus;
	uint8_t slot;
};

/* Memory-mapped configuration space (ECAM) of the q35 machine. */
void enable_ecam(void);
uint32_t config_get(struct function f, unsigned int offset, unsigned int bytes);
void config_set(struct function f, unsigned int offset, unsigned int bytes, uint32_t value);
/* Where a capability is, or 0. */
unsigned int find_capability(struct function f, uint8_t id);

extern struct function root_port, card;

/* Finds the root port and the card, and gives the bus between them its number. */
bool enumerate(void);
/* Sets windows, BARs, memory decoding and bus mastering as they are after enumerate(). */
void place_card(void);

/* The card's BARs, as place_card() sets them. */
#define BAR0 (LOW_WINDOW + 0x00000UL)
#define BAR4 (LOW_WINDOW + 0x10000UL)
#define BAR2 HIGH_WINDOW

/* Single accesses, at any alignment. */
uint64_t get(uint64_t address, unsigned int bytes);
void set(uint64_t address, unsigned int bytes, uint64_t value);

#endif /* PCI_H */
