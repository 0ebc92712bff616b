// SPDX-License-Identifier: MIT OR Apache-2.0
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

static void bind_vfio(const char *address)
{
	char driver[256], path[128];
	ssize_t got;
	int error = write_attribute(address, "driver_override", "vfio-pci");

	if (!error) {
		int probe = open("/sys/bus/pci/drivers_probe", O_WRONLY | O_CLOEXEC);

		if (probe < 0 || write(probe, address, strlen(address)) < 0)
			error = errno;
		close(probe);
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
	got = readlink(path, driver, sizeof(driver) - 1);
	driver[got < 0 ? 0 : got] = '\0';
	if (error || !strstr(driver, "/vfio-pci"))
		die("%s is not bound to vfio-pci: %s", address,
		    error ? strerror(error) : driver[0] ? driver : "no driver takes it");
}

static void get_region(struct vfio_card *card, unsigned int index,
		       struct vfio_region_info *region)
{
	*region = (struct vfio_region_info){ .argsz = sizeof(*region) };
	region->index = index;
	if (ioctl(card->device, VFIO_DEVICE_GET_REGION_INFO, region))
		die("region %u of %s: %s", index, card->address, strerror(errno));
}

void vfio_msix(struct vfio_card *card, unsigned int vectors)
{
	struct vfio_irq_info about = { .argsz = sizeof(about), .index = VFIO_PCI_MSIX_IRQ_INDEX };
	struct {
		struct vfio_irq_set set;
		int event[VFIO_MOST_VECTORS];
	} request = {
		.set = {
			.argsz = (uint32_t)(offsetof(__typeof__(request), event) +
					    vectors * sizeof(int)),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSIX_IRQ_INDEX,
			.count = vectors,
		},
	};

	if (ioctl(card->device, VFIO_DEVICE_GET_IRQ_INFO, &about))
		die("vectors of %s: %s", card->address, strerror(errno));
	expect("vectors that VFIO knows", vectors, about.count);
	for (unsigned int i = 0; i < vectors; i++) {
		card->event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (card->event[i] < 0)
			die("no eventfd: %s", strerror(errno));
		request.event[i] = card->event[i];
	}
	if (ioctl(card->device, VFIO_DEVICE_SET_IRQS, &request))
		die("MSI-X of %s cannot be enabled: %s", card->address, strerror(errno));
}

static void open_device(struct vfio_card *card)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_device_info about = { .argsz = sizeof(about) };
	char link[256], path[128], *name;
	ssize_t got;
	int group;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", card->address);
	got = readlink(path, link, sizeof(link) - 1);
	if (got < 0)
		die("%s has no IOMMU group: is there an IOMMU, and intel_iommu=on?", card->address);
	link[got] = '\0';
	name = strrchr(link, '/') + 1;
	snprintf(path, sizeof(path), "/dev/vfio/%s", name);
	report("iommu_group", "%s", name);

	card->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (card->container < 0 || ioctl(card->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(card->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		die("/dev/vfio/vfio: no type 1 IOMMU: %s", strerror(errno));
	group = open(path, O_RDWR | O_CLOEXEC);
	if (group < 0 || ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		die("%s cannot be opened: %s", path, strerror(errno));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		die("IOMMU group %s is not viable: another driver has a part of it", name);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &card->container) ||
	    ioctl(card->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("%s has no IOMMU: %s", path, strerror(errno));
	card->device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, card->address);
	if (card->device < 0 || ioctl(card->device, VFIO_DEVICE_GET_INFO, &about))
		die("%s cannot be had from VFIO: %s", card->address, strerror(errno));
	if (!(about.flags & VFIO_DEVICE_FLAGS_RESET))
		fail("VFIO has no reset for %s", card->address);
}

void vfio_open(struct vfio_card *card, unsigned int vendor, unsigned int device)
{
	find_function(vendor, device, card->address);
	report_function(card->address);
	bind_vfio(card->address);
	open_device(card);
}

volatile void *vfio_bar(struct vfio_card *card, unsigned int bar, struct vfio_region_info *region)
{
	volatile void *mapped;

	get_region(card, VFIO_PCI_BAR0_REGION_INDEX + bar, region);
	mapped = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, card->device,
		      (off_t)region->offset);
	if (mapped == MAP_FAILED)
		die("BAR %u of %s cannot be mapped: %s", bar, card->address, strerror(errno));
	return mapped;
}

void vfio_command(struct vfio_card *card, uint16_t bits, bool on)
{
	struct vfio_region_info config;
	uint16_t command, now;
	off_t place;

	get_region(card, VFIO_PCI_CONFIG_REGION_INDEX, &config);
	place = (off_t)config.offset + 4;
	if (pread(card->device, &command, sizeof(command), place) != sizeof(command))
		die("the command register cannot be read: %s", strerror(errno));
	command = (uint16_t)(on ? command | bits : command & ~bits);
	if (pwrite(card->device, &command, sizeof(command), place) != sizeof(command))
		die("the command register cannot be written: %s", strerror(errno));
	if (pread(card->device, &now, sizeof(now), place) != sizeof(now))
		die("the command register cannot be read: %s", strerror(errno));
	expect("command register", command, now);
}

void vfio_map(struct vfio_card *card, volatile void *memory, uint64_t iova, uint64_t bytes,
	      uint32_t rights)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request),
		.flags = rights,
		.vaddr = (uint64_t)(uintptr_t)memory,
		.iova = iova,
		.size = bytes,
	};

	if (ioctl(card->container, VFIO_IOMMU_MAP_DMA, &request))
		die("%#llx bytes cannot be mapped at %#llx: %s", (unsigned long long)bytes,
		    (unsigned long long)iova, strerror(errno));
}

void vfio_unmap(struct vfio_card *card, uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request),
		.iova = iova,
		.size = bytes,
	};

	if (ioctl(card->container, VFIO_IOMMU_UNMAP_DMA, &request) || request.size != bytes)
		die("%#llx cannot be unmapped: %s", (unsigned long long)iova, strerror(errno));
}

volatile uint8_t *vfio_pages(size_t bytes)
{
	volatile uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED || mlock((void *)(uintptr_t)memory, bytes))
		die("no memory: %s", strerror(errno));
	return memory;
}
