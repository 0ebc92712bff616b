// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Driver for the bench design, RTL that the co-simulation is measured with, and for the
 * function behind vfio-user that has the same registers. It gives a program the registers
 * and a buffer for DMA, and takes the time of interrupts, which only a handler can do.
 *
 * The device may be reset, lose its state or vanish at any time. The open file is of no use
 * from then on: its registers are taken from the program, which gets SIGBUS where it touches
 * them, and calls end with the reason at once. The next open() finds a device that works, or
 * an error.
 */

#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "../uapi/accel_bench.h"

#define ACCEL_BENCH_BAR		0
#define ACCEL_BENCH_REG_ID	0x000
#define   ACCEL_BENCH_ID	0x48434e42
#define ACCEL_BENCH_REG_MSIX_GO	0x030

/* What a read returns when nobody answers. */
#define ACCEL_BENCH_ALL_ONES	(~0U)

/*
 * After a reset, or with its link gone, a device is given so long to answer again. PCI Express
 * demands it within a second; a simulator may have to be waited for.
 */
#define ACCEL_BENCH_BACK_US	(3 * USEC_PER_SEC)

static unsigned int patience_ms = 20000;
module_param(patience_ms, uint, 0644);
MODULE_PARM_DESC(patience_ms, "an interrupt, which comes in microseconds, is given up after so many ms (default 20000)");

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}
#endif

/**
 * struct accel_bench - a device
 * @ref: one of the driver's binding, one of the open file
 * @pdev: the PCI function; not used once @loss says that it is gone
 * @misc: the character device
 * @number: N in its name
 * @regs: BAR 0
 * @buffer: memory for DMA
 * @buffer_dma: @buffer as the device sees it
 * @gate: held for reading by who uses the hardware, for writing by who takes it away or
 *	brings it back. Nobody who holds it touches memory of a program, whose page fault
 *	may wait for the gate
 * @failed: an error of PCI Express is being recovered from, or that has failed: nobody
 *	touches the device; changes under @gate
 * @fatal: the link was not to be used after that error
 * @mapping: of the open file, if there is one; changes under @gate
 * @loss: 0, or why the open file has lost the device; changes under @gate
 * @lock: one measurement at a time
 * @handler: when the last interrupt was handled; 0 before that
 * @come: the last interrupt was handled, or none will come
 */
struct accel_bench {
	struct kref ref;
	struct pci_dev *pdev;
	struct miscdevice misc;
	int number;
	void __iomem *regs;
	void *buffer;
	dma_addr_t buffer_dma;

	struct rw_semaphore gate;
	bool failed;
	bool fatal;
	struct address_space *mapping;
	int loss;

	struct mutex lock;
	u64 handler;
	struct completion come;
};

static DEFINE_IDA(accel_bench_numbers);

static void accel_bench_free(struct kref *ref)
{
	kfree(container_of(ref, struct accel_bench, ref));
}

static irqreturn_t accel_bench_irq(int irq, void *data)
{
	u64 now = get_cycles();
	struct accel_bench *bench = data;

	WRITE_ONCE(bench->handler, now);
	complete(&bench->come);
	return IRQ_HANDLED;
}

/* ---- loss and return of the device ---- */

static u32 accel_bench_id(struct accel_bench *bench)
{
	return readl(bench->regs + ACCEL_BENCH_REG_ID);
}

/*
 * Takes the device from the open file, whose program finds out by @error. With the gate held for
 * writing: no page of the registers is mapped anew before it is open again.
 */
static void accel_bench_lose(struct accel_bench *bench, int error)
{
	WRITE_ONCE(bench->loss, error);
	if (bench->mapping)
		unmap_mapping_range(bench->mapping, ACCEL_BENCH_MAP_BAR0,
				    pci_resource_len(bench->pdev, ACCEL_BENCH_BAR), 1);
	complete_all(&bench->come);
}

/* Waits until a device that was reset answers. Returns whether it does. */
static bool accel_bench_is_back(struct accel_bench *bench)
{
	u32 id;

	if (!read_poll_timeout(accel_bench_id, id, id == ACCEL_BENCH_ID, 10 * USEC_PER_MSEC,
			       ACCEL_BENCH_BACK_US, false, bench))
		return true;
	dev_err(&bench->pdev->dev, "register ID is %#x after %lu s, expected %#x\n", id,
		ACCEL_BENCH_BACK_US / USEC_PER_SEC, ACCEL_BENCH_ID);
	return false;
}

/* ---- character device ---- */

static int accel_bench_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct accel_bench *bench = container_of(misc, struct accel_bench, misc);
	int ret = 0;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	down_write(&bench->gate);
	if (bench->mapping)
		ret = -EBUSY;
	else if (bench->failed)
		ret = -EIO;
	else if (accel_bench_id(bench) == ACCEL_BENCH_ALL_ONES)
		ret = -ENODEV;
	if (!ret) {
		bench->mapping = file->f_mapping;
		bench->loss = 0;
		kref_get(&bench->ref);
		file->private_data = bench;
	}
	up_write(&bench->gate);
	return ret;
}

/* The mappings hold the file: none of them is left. */
static int accel_bench_release(struct inode *inode, struct file *file)
{
	struct accel_bench *bench = file->private_data;

	down_write(&bench->gate);
	bench->mapping = NULL;
	up_write(&bench->gate);
	kref_put(&bench->ref, accel_bench_free);
	return 0;
}

/*
 * Maps a page of the registers when it is touched. Were all of them mapped by mmap() itself,
 * accel_bench_lose() would not find them until that call is over.
 */
static vm_fault_t accel_bench_fault(struct vm_fault *vmf)
{
	struct accel_bench *bench = vmf->vma->vm_file->private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	phys_addr_t bar;

	down_read(&bench->gate);
	if (!bench->loss) {
		bar = pci_resource_start(bench->pdev, ACCEL_BENCH_BAR) - ACCEL_BENCH_MAP_BAR0;
		ret = vmf_insert_pfn(vmf->vma, vmf->address, PHYS_PFN(bar) + vmf->pgoff);
	}
	up_read(&bench->gate);
	return ret;
}

static const struct vm_operations_struct accel_bench_vm_ops = {
	.fault = accel_bench_fault,
};

static int accel_bench_map_bar(struct accel_bench *bench, struct vm_area_struct *vma)
{
	/* A private copy of a register is none. */
	if (!(vma->vm_flags & VM_SHARED) ||
	    vma->vm_end - vma->vm_start > pci_resource_len(bench->pdev, ACCEL_BENCH_BAR))
		return -EINVAL;
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &accel_bench_vm_ops;
	return 0;
}

static int accel_bench_map_buffer(struct accel_bench *bench, struct vm_area_struct *vma)
{
	unsigned long page = vma->vm_pgoff;
	int ret;

	/* dma_mmap_coherent() takes an offset in the buffer. */
	vma->vm_pgoff = 0;
	ret = dma_mmap_coherent(&bench->pdev->dev, vma, bench->buffer, bench->buffer_dma,
				ACCEL_BENCH_BUFFER);
	/* What is taken from the program goes by the offset in the file. */
	vma->vm_pgoff = page;
	return ret;
}

static int accel_bench_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct accel_bench *bench = file->private_data;
	int ret;

	down_read(&bench->gate);
	if (bench->loss)
		ret = bench->loss;
	else if (vma->vm_pgoff == PHYS_PFN(ACCEL_BENCH_MAP_BAR0))
		ret = accel_bench_map_bar(bench, vma);
	else if (vma->vm_pgoff == PHYS_PFN(ACCEL_BENCH_MAP_BUFFER))
		ret = accel_bench_map_buffer(bench, vma);
	else
		ret = -EINVAL;
	up_read(&bench->gate);
	return ret;
}

static int accel_bench_ioctl_info(struct accel_bench *bench, void __user *argument)
{
	struct accel_bench_info info = {
		.buffer_dma = bench->buffer_dma,
	};
	int ret;

	down_read(&bench->gate);
	ret = bench->loss;
	if (!ret) {
		info.buffer_phys = virt_to_phys(bench->buffer);
		info.device = bench->pdev->device;
	}
	up_read(&bench->gate);
	if (ret)
		return ret;
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

/* Called when no interrupt has come: why. */
static int accel_bench_look(struct accel_bench *bench)
{
	int ret;

	down_read(&bench->gate);
	ret = bench->loss;
	if (!ret) {
		ret = -ETIMEDOUT;
		if (accel_bench_id(bench) == ACCEL_BENCH_ALL_ONES) {
			dev_err(&bench->pdev->dev, "the device does not answer: ID is %#x\n",
				ACCEL_BENCH_ALL_ONES);
			ret = -ENODEV;
		}
	}
	up_read(&bench->gate);
	return ret;
}

/* Has the device interrupt, and waits for that as asked. */
static int accel_bench_measure(struct accel_bench *bench, const struct accel_bench_msix *msix)
{
	unsigned long patience = msecs_to_jiffies(READ_ONCE(patience_ms));
	unsigned long limit = jiffies + patience;
	int ret;

	WRITE_ONCE(bench->handler, 0);
	down_read(&bench->gate);
	ret = bench->loss;
	if (!ret) {
		reinit_completion(&bench->come);
		writeq(msix->delay, bench->regs + ACCEL_BENCH_REG_MSIX_GO);
	}
	up_read(&bench->gate);
	if (ret)
		return ret;
	if (msix->wait == ACCEL_BENCH_HALT) {
		if (wait_for_completion_killable_timeout(&bench->come, patience) < 0)
			return -ERESTARTSYS;
	} else {
		while (!READ_ONCE(bench->handler) && time_before(jiffies, limit)) {
			if (READ_ONCE(bench->loss) || fatal_signal_pending(current))
				break;
			if (msix->wait == ACCEL_BENCH_RELAX)
				cpu_relax();
		}
	}
	return READ_ONCE(bench->handler) ? 0 : accel_bench_look(bench);
}

static int accel_bench_ioctl_msix(struct accel_bench *bench, void __user *argument)
{
	struct accel_bench_msix msix;
	int ret;

	if (copy_from_user(&msix, argument, sizeof(msix)))
		return -EFAULT;
	if (msix.wait > ACCEL_BENCH_RELAX)
		return -EINVAL;
	mutex_lock(&bench->lock);
	ret = accel_bench_measure(bench, &msix);
	msix.handler = READ_ONCE(bench->handler);
	mutex_unlock(&bench->lock);
	if (ret)
		return ret;
	return copy_to_user(argument, &msix, sizeof(msix)) ? -EFAULT : 0;
}

static long accel_bench_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct accel_bench *bench = file->private_data;

	switch (command) {
	case ACCEL_BENCH_IOC_INFO:
		return accel_bench_ioctl_info(bench, (void __user *)argument);
	case ACCEL_BENCH_IOC_MSIX:
		return accel_bench_ioctl_msix(bench, (void __user *)argument);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations accel_bench_fops = {
	.owner = THIS_MODULE,
	.open = accel_bench_open,
	.release = accel_bench_release,
	.mmap = accel_bench_mmap,
	.unlocked_ioctl = accel_bench_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- binding ---- */

static void accel_bench_put(void *data)
{
	struct accel_bench *bench = data;

	kref_put(&bench->ref, accel_bench_free);
}

static void accel_bench_free_number(void *data)
{
	struct accel_bench *bench = data;

	ida_free(&accel_bench_numbers, bench->number);
}

static int accel_bench_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct accel_bench *bench;
	u32 value;
	int ret;

	bench = kzalloc(sizeof(*bench), GFP_KERNEL);
	if (!bench)
		return -ENOMEM;
	kref_init(&bench->ref);
	bench->pdev = pdev;
	init_rwsem(&bench->gate);
	mutex_init(&bench->lock);
	init_completion(&bench->come);
	/* First, so that it is undone last: the interrupt handler uses it. */
	ret = devm_add_action_or_reset(dev, accel_bench_put, bench);
	if (ret)
		return ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(dev, ret, "cannot be enabled\n");
	ret = pcim_iomap_regions(pdev, BIT(ACCEL_BENCH_BAR), KBUILD_MODNAME);
	if (ret)
		return dev_err_probe(dev, ret, "BAR %d cannot be mapped\n", ACCEL_BENCH_BAR);
	bench->regs = pcim_iomap_table(pdev)[ACCEL_BENCH_BAR];
	value = accel_bench_id(bench);
	if (value != ACCEL_BENCH_ID)
		return dev_err_probe(dev, -ENODEV, "register ID is %#x, expected %#x\n",
				     value, ACCEL_BENCH_ID);
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return dev_err_probe(dev, ret, "no 64-bit DMA\n");
	bench->buffer = dmam_alloc_coherent(dev, ACCEL_BENCH_BUFFER, &bench->buffer_dma,
					    GFP_KERNEL);
	if (!bench->buffer)
		return -ENOMEM;
	ret = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX);
	if (ret < 0)
		return dev_err_probe(dev, ret, "no MSI-X vector\n");
	ret = devm_request_irq(dev, pci_irq_vector(pdev, 0), accel_bench_irq, 0, KBUILD_MODNAME,
			       bench);
	if (ret)
		return dev_err_probe(dev, ret, "no interrupt\n");

	bench->number = ida_alloc(&accel_bench_numbers, GFP_KERNEL);
	if (bench->number < 0)
		return bench->number;
	ret = devm_add_action_or_reset(dev, accel_bench_free_number, bench);
	if (ret)
		return ret;
	bench->misc.minor = MISC_DYNAMIC_MINOR;
	bench->misc.name = devm_kasprintf(dev, GFP_KERNEL, "accel_bench%d", bench->number);
	if (!bench->misc.name)
		return -ENOMEM;
	bench->misc.fops = &accel_bench_fops;
	bench->misc.parent = dev;

	pci_set_drvdata(pdev, bench);
	pci_set_master(pdev);
	/* For slot_reset(). */
	pci_save_state(pdev);
	ret = misc_register(&bench->misc);
	if (ret)
		return dev_err_probe(dev, ret, "no character device\n");
	return 0;
}

static void accel_bench_remove(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	misc_deregister(&bench->misc);
	down_write(&bench->gate);
	accel_bench_lose(bench, -ENODEV);
	/* Program and device lose the buffer, too, before it is freed. */
	if (bench->mapping)
		unmap_mapping_range(bench->mapping, 0, 0, 1);
	pci_clear_master(pdev);
	/* This read brings what the device wrote until then. */
	accel_bench_id(bench);
	up_write(&bench->gate);
}

/* ---- sleep, errors of PCI Express and resets ---- */

static int accel_bench_suspend(struct device *dev)
{
	struct accel_bench *bench = dev_get_drvdata(dev);

	down_write(&bench->gate);
	accel_bench_lose(bench, -ECANCELED);
	pci_clear_master(bench->pdev);
	up_write(&bench->gate);
	return 0;
}

static int accel_bench_resume(struct device *dev)
{
	struct accel_bench *bench = dev_get_drvdata(dev);

	/* The PCI core has restored what it had saved, which can be done once. */
	pci_set_master(bench->pdev);
	pci_save_state(bench->pdev);
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(accel_bench_pm_ops, accel_bench_suspend, accel_bench_resume);

static pci_ers_result_t accel_bench_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	down_write(&bench->gate);
	bench->failed = true;
	bench->fatal = state != pci_channel_io_normal;
	accel_bench_lose(bench, -EIO);
	/* Nothing is known about the device: it must not write to memory any more. */
	pci_clear_master(pdev);
	up_write(&bench->gate);
	return state == pci_channel_io_perm_failure ? PCI_ERS_RESULT_DISCONNECT :
						      PCI_ERS_RESULT_NEED_RESET;
}

/*
 * The PCI core has reset the slot if the error was fatal. After any other the device may still wait
 * for what it will never get, and answer no read: each would be given up, and be the next error.
 */
static pci_ers_result_t accel_bench_slot_reset(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	if (!bench->fatal)
		pcie_reset_flr(pdev, PCI_RESET_DO_RESET);
	/* What was saved can be restored once: it is saved for the next time. */
	pci_restore_state(pdev);
	pci_save_state(pdev);
	/* Only a device that answers is back. */
	if (!accel_bench_is_back(bench)) {
		pci_clear_master(pdev);
		return PCI_ERS_RESULT_DISCONNECT;
	}
	/* As the PCI core has to know, too. */
	pci_set_master(pdev);
	return PCI_ERS_RESULT_RECOVERED;
}

static void accel_bench_error_resume(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	down_write(&bench->gate);
	bench->failed = false;
	up_write(&bench->gate);
}

/* Nobody touches the hardware between these two, which run in the same thread. */
static void accel_bench_reset_prepare(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	down_write(&bench->gate);
	accel_bench_lose(bench, -ECANCELED);
}

static void accel_bench_reset_done(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	/* That may have helped a device for which the recovery from an error has not. */
	bench->failed = !accel_bench_is_back(bench);
	if (!bench->failed) {
		/* The recovery may have left it without. */
		pci_set_master(pdev);
		/* The PCI core has restored what it had saved, which can be done once. */
		pci_save_state(pdev);
	}
	up_write(&bench->gate);
}

static const struct pci_error_handlers accel_bench_error_handlers = {
	.error_detected = accel_bench_error_detected,
	.slot_reset = accel_bench_slot_reset,
	.resume = accel_bench_error_resume,
	.reset_prepare = accel_bench_reset_prepare,
	.reset_done = accel_bench_reset_done,
};

static const struct pci_device_id accel_bench_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_XILINX, ACCEL_BENCH_DEVICE) },
	{ PCI_DEVICE(PCI_VENDOR_ID_XILINX, ACCEL_BENCH_DEVICE_VFIO_USER) },
	{ }
};
MODULE_DEVICE_TABLE(pci, accel_bench_ids);

static struct pci_driver accel_bench_driver = {
	.name = KBUILD_MODNAME,
	.id_table = accel_bench_ids,
	.probe = accel_bench_probe,
	.remove = accel_bench_remove,
	.err_handler = &accel_bench_error_handlers,
	.driver.pm = pm_sleep_ptr(&accel_bench_pm_ops),
};
module_pci_driver(accel_bench_driver);

MODULE_DESCRIPTION("Driver of the design that the co-simulation is measured with");
MODULE_LICENSE("GPL");
