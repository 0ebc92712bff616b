// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Driver for the probe, RTL for tests of the co-simulation itself. It gives a test
 * program the registers, a buffer for DMA and the interrupts, and does nothing of
 * its own but look at the buffer when an interrupt comes: MSI-X must not be ahead
 * of the data that it announces.
 *
 * The device may be reset, lose its state or vanish at any time. What a program has set
 * there is lost with it: the open file is of no use from then on. Its registers are taken
 * from the program, which gets SIGBUS where it touches them, and calls end with the reason
 * at once, those that wait, too. The next open() finds a device that works, or an error.
 */

#include <linux/capability.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/wait.h>

#include "../uapi/accel_probe.h"

#define ACCEL_PROBE_BAR		0
#define ACCEL_PROBE_REG_ID	0x000
#define   ACCEL_PROBE_ID	0x424f5250
#define ACCEL_PROBE_BUFFER	(16 * PAGE_SIZE)

/* What a read returns when nobody answers. */
#define ACCEL_PROBE_ALL_ONES	(~0U)

/* Most that a program may wait for an interrupt. */
#define ACCEL_PROBE_WAIT_MS	(600 * 1000)
/* Who waits looks each time that so long is over whether the device is still there. */
#define ACCEL_PROBE_LOOK_MS	1000

/*
 * After a reset, or with its link gone, a device is given so long to answer again. PCI Express
 * demands it within a second; a simulator may have to be waited for.
 */
#define ACCEL_PROBE_BACK_US	(3 * USEC_PER_SEC)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}
#endif

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
 * @pdev: the PCI function; not used once @loss says that it is gone
 * @misc: the character device
 * @number: N in its name
 * @regs: BAR 0
 * @buffer: memory for DMA
 * @buffer_dma: @buffer as the device sees it
 * @vectors: MSI-X vectors in use
 * @gate: held for reading by who uses the hardware, for writing by who takes it away or
 *	brings it back. Nobody who holds it touches memory of a program, whose page fault
 *	may wait for the gate
 * @failed: an error of PCI Express is being recovered from, or that has failed: nobody
 *	touches the device; changes under @gate
 * @fatal: the link was not to be used after that error
 * @mapping: of the open file, if there is one; changes under @gate
 * @loss: 0, or why the open file has lost the device; changes under @gate
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

	struct rw_semaphore gate;
	bool failed;
	bool fatal;
	struct address_space *mapping;
	int loss;

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

/* ---- loss and return of the device ---- */

static u32 accel_probe_id(struct accel_probe *accel)
{
	return readl(accel->regs + ACCEL_PROBE_REG_ID);
}

/*
 * Takes the device from the open file, whose program finds out by @error. With the gate held for
 * writing: no page of the registers is mapped anew before it is open again.
 */
static void accel_probe_lose(struct accel_probe *accel, int error)
{
	WRITE_ONCE(accel->loss, error);
	if (accel->mapping)
		unmap_mapping_range(accel->mapping, ACCEL_PROBE_MAP_BAR0,
				    pci_resource_len(accel->pdev, ACCEL_PROBE_BAR), 1);
	wake_up_all(&accel->wait);
}

/* Waits until a device that was reset answers. Returns whether it does. */
static bool accel_probe_is_back(struct accel_probe *accel)
{
	u32 id;

	if (!read_poll_timeout(accel_probe_id, id, id == ACCEL_PROBE_ID, 10 * USEC_PER_MSEC,
			       ACCEL_PROBE_BACK_US, false, accel))
		return true;
	dev_err(&accel->pdev->dev, "register ID is %#x after %lu s, expected %#x\n", id,
		ACCEL_PROBE_BACK_US / USEC_PER_SEC, ACCEL_PROBE_ID);
	return false;
}

/* ---- character device ---- */

static int accel_probe_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct accel_probe *accel = container_of(misc, struct accel_probe, misc);
	int ret = 0;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	down_write(&accel->gate);
	if (accel->mapping)
		ret = -EBUSY;
	else if (accel->failed)
		ret = -EIO;
	else if (accel_probe_id(accel) == ACCEL_PROBE_ALL_ONES)
		ret = -ENODEV;
	if (!ret) {
		accel->mapping = file->f_mapping;
		accel->loss = 0;
		kref_get(&accel->ref);
		file->private_data = accel;
	}
	up_write(&accel->gate);
	return ret;
}

/* The mappings hold the file: none of them is left. */
static int accel_probe_release(struct inode *inode, struct file *file)
{
	struct accel_probe *accel = file->private_data;

	down_write(&accel->gate);
	accel->mapping = NULL;
	up_write(&accel->gate);
	kref_put(&accel->ref, accel_probe_free);
	return 0;
}

/*
 * Maps a page of the registers when it is touched. Were all of them mapped by mmap() itself,
 * accel_probe_lose() would not find them until that call is over.
 */
static vm_fault_t accel_probe_fault(struct vm_fault *vmf)
{
	struct accel_probe *accel = vmf->vma->vm_file->private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	phys_addr_t bar;

	down_read(&accel->gate);
	if (!accel->loss) {
		bar = pci_resource_start(accel->pdev, ACCEL_PROBE_BAR) - ACCEL_PROBE_MAP_BAR0;
		ret = vmf_insert_pfn(vmf->vma, vmf->address, PHYS_PFN(bar) + vmf->pgoff);
	}
	up_read(&accel->gate);
	return ret;
}

static const struct vm_operations_struct accel_probe_vm_ops = {
	.fault = accel_probe_fault,
};

static int accel_probe_map_bar(struct accel_probe *accel, struct vm_area_struct *vma)
{
	/* A private copy of a register is none. */
	if (!(vma->vm_flags & VM_SHARED) ||
	    vma->vm_end - vma->vm_start > pci_resource_len(accel->pdev, ACCEL_PROBE_BAR))
		return -EINVAL;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &accel_probe_vm_ops;
	return 0;
}

static int accel_probe_map_buffer(struct accel_probe *accel, struct vm_area_struct *vma)
{
	unsigned long page = vma->vm_pgoff;
	int ret;

	/* dma_mmap_coherent() takes an offset in the buffer. */
	vma->vm_pgoff = 0;
	ret = dma_mmap_coherent(&accel->pdev->dev, vma, accel->buffer, accel->buffer_dma,
				ACCEL_PROBE_BUFFER);
	/* What is taken from the program goes by the offset in the file. */
	vma->vm_pgoff = page;
	return ret;
}

static int accel_probe_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct accel_probe *accel = file->private_data;
	int ret;

	down_read(&accel->gate);
	if (accel->loss)
		ret = accel->loss;
	else if (vma->vm_pgoff == PHYS_PFN(ACCEL_PROBE_MAP_BAR0))
		ret = accel_probe_map_bar(accel, vma);
	else if (vma->vm_pgoff == PHYS_PFN(ACCEL_PROBE_MAP_BUFFER))
		ret = accel_probe_map_buffer(accel, vma);
	else
		ret = -EINVAL;
	up_read(&accel->gate);
	return ret;
}

static int accel_probe_ioctl_info(struct accel_probe *accel, void __user *argument)
{
	struct accel_probe_info info = {
		.buffer_dma = accel->buffer_dma,
		.buffer_bytes = ACCEL_PROBE_BUFFER,
		.vectors = accel->vectors,
	};
	int ret;

	down_read(&accel->gate);
	ret = accel->loss;
	if (!ret)
		info.bar_bytes = pci_resource_len(accel->pdev, ACCEL_PROBE_BAR);
	up_read(&accel->gate);
	if (ret)
		return ret;
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

/* Called when a wait has brought nothing so far: 0, or the reason for which nothing will come. */
static int accel_probe_look(struct accel_probe *accel)
{
	int ret;

	down_read(&accel->gate);
	ret = accel->loss;
	if (!ret && accel_probe_id(accel) == ACCEL_PROBE_ALL_ONES) {
		dev_err(&accel->pdev->dev, "the device does not answer: ID is %#x\n",
			ACCEL_PROBE_ALL_ONES);
		ret = -ENODEV;
	}
	up_read(&accel->gate);
	return ret;
}

static int accel_probe_ioctl_wait(struct accel_probe *accel, void __user *argument)
{
	struct accel_probe_wait wait;
	u32 patience_ms, slice_ms;
	bool come = false;
	long left;
	int ret;

	if (copy_from_user(&wait, argument, sizeof(wait)))
		return -EFAULT;
	if (wait.vector >= accel->vectors || wait.timeout_ms > ACCEL_PROBE_WAIT_MS)
		return -EINVAL;
	patience_ms = wait.timeout_ms;
	for (;;) {
		slice_ms = min_t(u32, patience_ms, ACCEL_PROBE_LOOK_MS);
		left = wait_event_interruptible_timeout(accel->wait,
				READ_ONCE(accel->loss) ||
				(come = accel_probe_has_come(accel, &wait)),
				msecs_to_jiffies(slice_ms));
		if (left < 0)
			return left;
		if (come)
			break;
		ret = accel_probe_look(accel);
		if (ret)
			return ret;
		patience_ms -= slice_ms;
		if (!patience_ms)
			return -ETIMEDOUT;
	}
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
	init_rwsem(&accel->gate);
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
	value = accel_probe_id(accel);
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
	/* For slot_reset(). */
	pci_save_state(pdev);
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
	down_write(&accel->gate);
	accel_probe_lose(accel, -ENODEV);
	/* Program and device lose the buffer, too, before it is freed. */
	if (accel->mapping)
		unmap_mapping_range(accel->mapping, 0, 0, 1);
	pci_clear_master(pdev);
	/* This read brings what the device wrote until then. */
	accel_probe_id(accel);
	up_write(&accel->gate);
}

/* ---- sleep, errors of PCI Express and resets ---- */

static int accel_probe_suspend(struct device *dev)
{
	struct accel_probe *accel = dev_get_drvdata(dev);

	down_write(&accel->gate);
	accel_probe_lose(accel, -ECANCELED);
	pci_clear_master(accel->pdev);
	up_write(&accel->gate);
	return 0;
}

static int accel_probe_resume(struct device *dev)
{
	struct accel_probe *accel = dev_get_drvdata(dev);

	/* The PCI core has restored what it had saved, which can be done once. */
	pci_set_master(accel->pdev);
	pci_save_state(accel->pdev);
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(accel_probe_pm_ops, accel_probe_suspend, accel_probe_resume);

static pci_ers_result_t accel_probe_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	down_write(&accel->gate);
	accel->failed = true;
	accel->fatal = state != pci_channel_io_normal;
	accel_probe_lose(accel, -EIO);
	/* Nothing is known about the device: it must not write to memory any more. */
	pci_clear_master(pdev);
	up_write(&accel->gate);
	return state == pci_channel_io_perm_failure ? PCI_ERS_RESULT_DISCONNECT :
						      PCI_ERS_RESULT_NEED_RESET;
}

/*
 * The PCI core has reset the slot if the error was fatal. After any other the device may still wait
 * for what it will never get, and answer no read: each would be given up, and be the next error.
 */
static pci_ers_result_t accel_probe_slot_reset(struct pci_dev *pdev)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	if (!accel->fatal)
		pcie_reset_flr(pdev, PCI_RESET_DO_RESET);
	/* What was saved can be restored once: it is saved for the next time. */
	pci_restore_state(pdev);
	pci_save_state(pdev);
	/* Only a device that answers is back. */
	if (!accel_probe_is_back(accel)) {
		pci_clear_master(pdev);
		return PCI_ERS_RESULT_DISCONNECT;
	}
	/* As the PCI core has to know, too. */
	pci_set_master(pdev);
	return PCI_ERS_RESULT_RECOVERED;
}

static void accel_probe_error_resume(struct pci_dev *pdev)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	down_write(&accel->gate);
	accel->failed = false;
	up_write(&accel->gate);
}

/* Nobody touches the hardware between these two, which run in the same thread. */
static void accel_probe_reset_prepare(struct pci_dev *pdev)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	down_write(&accel->gate);
	accel_probe_lose(accel, -ECANCELED);
}

static void accel_probe_reset_done(struct pci_dev *pdev)
{
	struct accel_probe *accel = pci_get_drvdata(pdev);

	/* That may have helped a device for which the recovery from an error has not. */
	accel->failed = !accel_probe_is_back(accel);
	if (!accel->failed) {
		/* The recovery may have left it without. */
		pci_set_master(pdev);
		/* The PCI core has restored what it had saved, which can be done once. */
		pci_save_state(pdev);
	}
	up_write(&accel->gate);
}

static const struct pci_error_handlers accel_probe_error_handlers = {
	.error_detected = accel_probe_error_detected,
	.slot_reset = accel_probe_slot_reset,
	.resume = accel_probe_error_resume,
	.reset_prepare = accel_probe_reset_prepare,
	.reset_done = accel_probe_reset_done,
};

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
	.err_handler = &accel_probe_error_handlers,
	.driver.pm = pm_sleep_ptr(&accel_probe_pm_ops),
};
module_pci_driver(accel_probe_driver);

MODULE_DESCRIPTION("Probe for tests of the co-simulation");
MODULE_LICENSE("GPL");
