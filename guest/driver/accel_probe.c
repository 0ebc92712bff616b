// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Driver for the probe, RTL for tests of the co-simulation itself. It gives a test
 * program the registers, a buffer for DMA and the interrupts, and does nothing of
 * its own but look at the buffer when an interrupt comes: MSI-X must not be ahead
 * of the data that it announces.
 */

#include <linux/capability.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "../uapi/accel_probe.h"

#define ACCEL_PROBE_BAR		0
#define ACCEL_PROBE_REG_ID	0x000
#define   ACCEL_PROBE_ID	0x424f5250
#define ACCEL_PROBE_BUFFER	(16 * PAGE_SIZE)

/* Most that a program may wait for an interrupt. */
#define ACCEL_PROBE_WAIT_MS	(600 * 1000)

struct accel_probe;

/**
 * struct accel_probe_vector - an MSI-X vector
 * @accel: its device
 * @count: interrupts
 * @lowest: what the last one found in the buffer
 * @highest: likewise
 */
struct accel_probe_vector {
	struct accel_probe *accel;
	u64 count;
	u32 lowest;
	u32 highest;
};

/**
 * struct accel_probe - a device
 * @ref: one of the driver's binding, one of the open file
 * @pdev: the PCI function; not used once @gone
 * @misc: the character device
 * @number: N in its name
 * @regs: BAR 0
 * @buffer: memory for DMA
 * @buffer_dma: @buffer as the device sees it
 * @vectors: MSI-X vectors in use
 * @lock: guards the next two
 * @mapping: of the open file, if there is one
 * @gone: the driver was unbound
 * @irq_lock: guards the next two
 * @watched: words of the buffer that the handlers look at
 * @vector: the vectors
 * @wait: who waits for an interrupt
 */
struct accel_probe {
	struct kref ref;
	struct pci_dev *pdev;
	struct miscdevice misc;
	int number;
	void __iomem *regs;
	u32 *buffer;
	dma_addr_t buffer_dma;
	unsigned int vectors;

	struct mutex lock;
	struct address_space *mapping;
	bool gone;

	spinlock_t irq_lock;
	u32 watched;
	struct accel_probe_vector vector[ACCEL_PROBE_VECTORS];

	wait_queue_head_t wait;
};

static DEFINE_IDA(accel_probe_numbers);

static void accel_probe_free(struct kref *ref)
{
	kfree(container_of(ref, struct accel_probe, ref));
}

static irqreturn_t accel_probe_irq(int irq, void *data)
{
	struct accel_probe_vector *vector = data;
	struct accel_probe *accel = vector->accel;
	u32 lowest = U32_MAX, highest = 0, word, i;

	spin_lock(&accel->irq_lock);
	for (i = 0; i < accel->watched; i++) {
		word = READ_ONCE(accel->buffer[i]);
		lowest = min(lowest, word);
		highest = max(highest, word);
	}
	vector->lowest = lowest;
	vector->highest = highest;
	vector->count++;
	spin_unlock(&accel->irq_lock);
	wake_up_all(&accel->wait);
	return IRQ_HANDLED;
}

/* ---- character device ---- */

static int accel_probe_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct accel_probe *accel = container_of(misc, struct accel_probe, misc);
	int ret = -EBUSY;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	mutex_lock(&accel->lock);
	if (!accel->mapping) {
		accel->mapping = file->f_mapping;
		kref_get(&accel->ref);
		file->private_data = accel;
		ret = 0;
	}
	mutex_unlock(&accel->lock);
	return ret;
}

/* The mappings hold the file: none of them is left. */
static int accel_probe_release(struct inode *inode, struct file *file)
{
	struct accel_probe *accel = file->private_data;

	mutex_lock(&accel->lock);
	accel->mapping = NULL;
	mutex_unlock(&accel->lock);
	kref_put(&accel->ref, accel_probe_free);
	return 0;
}

static int accel_probe_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct accel_probe *accel = file->private_data;
	int ret;

	mutex_lock(&accel->lock);
	if (accel->gone) {
		ret = -ENODEV;
	} else if (vma->vm_pgoff == ACCEL_PROBE_MAP_BAR0 >> PAGE_SHIFT) {
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		ret = vm_iomap_memory(vma, pci_resource_start(accel->pdev, ACCEL_PROBE_BAR),
				      pci_resource_len(accel->pdev, ACCEL_PROBE_BAR));
	} else if (vma->vm_pgoff == ACCEL_PROBE_MAP_BUFFER >> PAGE_SHIFT) {
		/* dma_mmap_coherent() takes an offset in the buffer. */
		vma->vm_pgoff = 0;
		ret = dma_mmap_coherent(&accel->pdev->dev, vma, accel->buffer,
					accel->buffer_dma, ACCEL_PROBE_BUFFER);
	} else {
		ret = -EINVAL;
	}
	mutex_unlock(&accel->lock);
	return ret;
}

static int accel_probe_ioctl_info(struct accel_probe *accel, void __user *argument)
{
	struct accel_probe_info info = {
		.buffer_dma = accel->buffer_dma,
		.buffer_bytes = ACCEL_PROBE_BUFFER,
		.vectors = accel->vectors,
	};

	mutex_lock(&accel->lock);
	if (!accel->gone)
		info.bar_bytes = pci_resource_len(accel->pdev, ACCEL_PROBE_BAR);
	mutex_unlock(&accel->lock);
	if (!info.bar_bytes)
		return -ENODEV;
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static int accel_probe_ioctl_watch(struct accel_probe *accel, void __user *argument)
{
	unsigned long flags;
	u32 words;

	if (copy_from_user(&words, argument, sizeof(words)))
		return -EFAULT;
	if (words > ACCEL_PROBE_BUFFER / sizeof(*accel->buffer))
		return -EINVAL;
	spin_lock_irqsave(&accel->irq_lock, flags);
	accel->watched = words;
	spin_unlock_irqrestore(&accel->irq_lock, flags);
	return 0;
}

static bool accel_probe_has_come(struct accel_probe *accel, struct accel_probe_wait *wait)
{
	struct accel_probe_vector *vector = &accel->vector[wait->vector];
	unsigned long flags;
	bool come;

	spin_lock_irqsave(&accel->irq_lock, flags);
	come = vector->count >= wait->count;
	if (come) {
		wait->count = vector->count;
		wait->lowest = vector->lowest;
		wait->highest = vector->highest;
	}
	spin_unlock_irqrestore(&accel->irq_lock, flags);
	return come;
}

static int accel_probe_ioctl_wait(struct accel_probe *accel, void __user *argument)
{
	struct accel_probe_wait wait;
	bool come = false;
	long left;

	if (copy_from_user(&wait, argument, sizeof(wait)))
		return -EFAULT;
	if (wait.vector >= accel->vectors || wait.timeout_ms > ACCEL_PROBE_WAIT_MS)
		return -EINVAL;
	left = wait_event_interruptible_timeout(accel->wait,
			(come = accel_probe_has_come(accel, &wait)) || READ_ONCE(accel->gone),
			msecs_to_jiffies(wait.timeout_ms));
	if (left < 0)
		return left;
	if (!come)
		return left ? -ENODEV : -ETIMEDOUT;
	return copy_to_user(argument, &wait, sizeof(wait)) ? -EFAULT : 0;
}

static long accel_probe_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct accel_probe *accel = file->private_data;

	switch (command) {
	case ACCEL_PROBE_IOC_INFO:
		return accel_probe_ioctl_info(accel, (void __user *)argument);
	case ACCEL_PROBE_IOC_WATCH:
		return accel_probe_ioctl_watch(accel, (void __user *)argument);
	case ACCEL_PROBE_IOC_WAIT:
		return accel_probe_ioctl_wait(accel, (void __user *)argument);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations accel_probe_fops = {
	.owner = THIS_MODULE,
	.open = accel_probe_open,
	.release = accel_probe_release,
	.mmap = accel_probe_mmap,
	.unlocked_ioctl = accel_probe_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- binding ---- */

static void accel_probe_put(void *data)
{
	struct accel_probe *accel = data;

	kref_put(&accel->ref, accel_probe_free);
}

static void accel_probe_free_number(void *data)
{
	struct accel_probe *accel = data;

	ida_free(&accel_probe_numbers, accel->number);
}

static int accel_probe_interrupts(struct accel_probe *accel)
{
	struct pci_dev *pdev = accel->pdev;
	unsigned int i;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, 1, ACCEL_PROBE_VECTORS, PCI_IRQ_MSIX);
	if (ret < 0)
		return dev_err_probe(&pdev->dev, ret, "no MSI-X vectors\n");
	accel->vectors = ret;
	for (i = 0; i < accel->vectors; i++) {
		accel->vector[i].accel = accel;
		ret = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, i), accel_probe_irq, 0,
				       KBUILD_MODNAME, &accel->vector[i]);
		if (ret)
			return dev_err_probe(&pdev->dev, ret, "no interrupt for vector %u\n", i);
	}
	return 0;
}

static int accel_probe_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct accel_probe *accel;
	u32 value;
	int ret;

	accel = kzalloc(sizeof(*accel), GFP_KERNEL);
	if (!accel)
		return -ENOMEM;
	kref_init(&accel->ref);
	accel->pdev = pdev;
	mutex_init(&accel->lock);
	spin_lock_init(&accel->irq_lock);
	init_waitqueue_head(&accel->wait);
	/* First, so that it is undone last: the interrupt handlers use it. */
	ret = devm_add_action_or_reset(dev, accel_probe_put, accel);
	if (ret)
		return ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(dev, ret, "the function cannot be enabled\n");
	ret = pcim_iomap_regions(pdev, BIT(ACCEL_PROBE_BAR), KBUILD_MODNAME);
	if (ret)
		return dev_err_probe(dev, ret, "BAR %u cannot be mapped\n", ACCEL_PROBE_BAR);
	accel->regs = pcim_iomap_table(pdev)[ACCEL_PROBE_BAR];
	value = readl(accel->regs + ACCEL_PROBE_REG_ID);
	if (value != ACCEL_PROBE_ID)
		return dev_err_probe(dev, -ENODEV, "register ID is %#x, expected %#x\n",
				     value, ACCEL_PROBE_ID);
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return dev_err_probe(dev, ret, "no 64-bit DMA\n");
	accel->buffer = dmam_alloc_coherent(dev, ACCEL_PROBE_BUFFER, &accel->buffer_dma,
					    GFP_KERNEL);
	if (!accel->buffer)
		return -ENOMEM;
	ret = accel_probe_interrupts(accel);
	if (ret)
		return ret;

	accel->number = ida_alloc(&accel_probe_numbers, GFP_KERNEL);
	if (accel->number < 0)
		return accel->number;
	ret = devm_add_action_or_reset(dev, accel_probe_free_number, accel);
	if (ret)
		return ret;
	accel->misc.minor = MISC_DYNAMIC_MINOR;
	accel->misc.name = devm_kasprintf(dev, GFP_KERNEL, "accel_probe%d", accel->number);
	if (!accel->misc.name)
		return -ENOMEM;
	accel->misc.fops = &accel_probe_fops;
	accel->misc.parent = dev;

	pci_set_drvdata(pdev, accel);
	pci_set_master(pdev);
	ret = misc_register(&accel->misc);
	if (ret)
		return dev_err_probe(dev, ret, "no character device\n");
	dev_info(dev, "/dev/%s: %u vectors\n", accel->misc.name, accel->vectors);
	return 0;
}

static void accel_probe_remove(struct pci_dev *pdev)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	misc_deregister(&accel->misc);
	mutex_lock(&accel->lock);
	WRITE_ONCE(accel->gone, true);
	/* Program and device lose the registers and the buffer before they are freed. */
	if (accel->mapping)
		unmap_mapping_range(accel->mapping, 0, 0, 1);
	pci_clear_master(pdev);
	/* This read brings what the device wrote until then. */
	readl(accel->regs + ACCEL_PROBE_REG_ID);
	mutex_unlock(&accel->lock);
	wake_up_all(&accel->wait);
}

static const struct pci_device_id accel_probe_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_XILINX, 0x7031) },
	{ }
};
MODULE_DEVICE_TABLE(pci, accel_probe_ids);

static struct pci_driver accel_probe_driver = {
	.name = KBUILD_MODNAME,
	.id_table = accel_probe_ids,
	.probe = accel_probe_probe,
	.remove = accel_probe_remove,
};
module_pci_driver(accel_probe_driver);

MODULE_DESCRIPTION("Probe for tests of the co-simulation");
MODULE_LICENSE("GPL");
