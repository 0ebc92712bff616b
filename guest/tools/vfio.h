/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A PCI function by the kernel's vfio-pci, behind a virtual IOMMU: its BARs, memory of the
 * program for its DMA, and an eventfd for each of its vectors.
 */
#ifndef ACCEL_VFIO_H
#define ACCEL_VFIO_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accel.h"

#define PAGE 4096
/* Bus Master Enable in the command register. */
#define VFIO_BUS_MASTER 4
#define VFIO_READ_WRITE (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
#define VFIO_MOST_VECTORS 32

struct vfio_card {
	char address[PCI_ADDRESS_BYTES];
	int container, device;
	int event[VFIO_MOST_VECTORS];
};

/* Finds the only function with these ids, reports it, binds it to vfio-pci and opens it. */
void vfio_open(struct vfio_card *card, unsigned int vendor, unsigned int device);
/* Maps a BAR; `region` says its size and its place in the VFIO file. */
volatile void *vfio_bar(struct vfio_card *card, unsigned int bar, struct vfio_region_info *region);
/* Enables MSI-X, which must have `vectors` of them. */
void vfio_msix(struct vfio_card *card, unsigned int vectors);
/* Sets or clears bits of the command register. */
void vfio_command(struct vfio_card *card, uint16_t bits, bool on);

/* What the device has at `iova`: `bytes` of the program's memory. */
void vfio_map(struct vfio_card *card, volatile void *memory, uint64_t iova, uint64_t bytes,
	      uint32_t rights);
void vfio_unmap(struct vfio_card *card, uint64_t iova, uint64_t bytes);
/* Memory that stays where it is. */
volatile uint8_t *vfio_pages(size_t bytes);

#endif /* ACCEL_VFIO_H */
