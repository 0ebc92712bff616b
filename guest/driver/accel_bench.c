// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Driver for the bench design, RTL that the co-simulation is measured with, and for the
 * function behind vfio-user that has the same registers. It gives a program the registers
 * and a buffer for DMA, and takes the time of interrupts, which only a handler can do.
 */

#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/timex.h>
#include <linux/uaccess.h>

#include "../uapi/accel_bench.h"

#define ACCEL_BENCH_BAR		0
#define ACCEL_BENCH_REG_ID	0x000
#define   ACCEL_BENCH_ID	0x48434e42
#define ACCEL_BENCH_REG_MSIX_GO	0x030

/* The interrupt comes in microseconds; after so long something is broken. */
#define ACCEL_BENCH_PATIENCE	(20 * HZ)

/**
 * struct accel_bench - a device
 * @pdev: the PCI function
 * @misc: the character device
 * @number: N in its name
 * @regs: BAR 0
 * @buffer: memory for DMA
 * @buffer_dma: @buffer as the device sees it
 * @lock: one measurement at a time
 * @handler: when the last interrupt was handled; 0 before that
 * @come: the last interrupt was handled
 */
struct accel_bench {
	struct pci_dev *pdev;
	struct miscdevice misc;
	int number;
	void __iomem *regs;
	void *buffer;
	dma_addr_t buffer_dma;

	struct mutex lock;
	u64 handler;
	struct completion come;
};

static DEFINE_IDA(accel_bench_numbers);

static irqreturn_t accel_bench_irq(int irq, void *data)
{
	u64 now = get_cycles();
	struct accel_bench *bench = data;

	WRITE_ONCE(bench->handler, now);
	complete(&bench->come);
	return IRQ_HANDLED;
}

static int accel_bench_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;
	file->private_data = container_of(misc, struct accel_bench, misc);
	return 0;
}

static int accel_bench_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct accel_bench *bench = file->private_data;

	if (vma->vm_pgoff == ACCEL_BENCH_MAP_BAR0 >> PAGE_SHIFT) {
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		return vm_iomap_memory(vma, pci_resource_start(bench->pdev, ACCEL_BENCH_BAR),
				       pci_resource_len(bench->pdev, ACCEL_BENCH_BAR));
	}
	if (vma->vm_pgoff == ACCEL_BENCH_MAP_BUFFER >> PAGE_SHIFT) {
		/* dma_mmap_coherent() takes an offset in the buffer. */
		vma->vm_pgoff = 0;
		return dma_mmap_coherent(&bench->pdev->dev, vma, bench->buffer, bench->buffer_dma,
					 ACCEL_BENCH_BUFFER);
	}
	return -EINVAL;
}

static int accel_bench_ioctl_info(struct accel_bench *bench, void __user *argument)
{
	struct accel_bench_info info = {
		.buffer_dma = bench->buffer_dma,
		.buffer_phys = virt_to_phys(bench->buffer),
		.device = bench->pdev->device,
	};

	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static int accel_bench_ioctl_msix(struct accel_bench *bench, void __user *argument)
{
	struct accel_bench_msix msix;
	unsigned long limit = jiffies + ACCEL_BENCH_PATIENCE;
	int ret = 0;

	if (copy_from_user(&msix, argument, sizeof(msix)))
		return -EFAULT;
	if (msix.wait > ACCEL_BENCH_RELAX)
		return -EINVAL;
	mutex_lock(&bench->lock);
	WRITE_ONCE(bench->handler, 0);
	reinit_completion(&bench->come);
	writeq(msix.delay, bench->regs + ACCEL_BENCH_REG_MSIX_GO);
	if (msix.wait == ACCEL_BENCH_HALT) {
		if (!wait_for_completion_timeout(&bench->come, ACCEL_BENCH_PATIENCE))
			ret = -ETIMEDOUT;
	} else {
		while (!READ_ONCE(bench->handler) && time_before(jiffies, limit)) {
			if (msix.wait == ACCEL_BENCH_RELAX)
				cpu_relax();
		}
		if (!READ_ONCE(bench->handler))
			ret = -ETIMEDOUT;
	}
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
	.mmap = accel_bench_mmap,
	.unlocked_ioctl = accel_bench_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

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

	bench = devm_kzalloc(dev, sizeof(*bench), GFP_KERNEL);
	if (!bench)
		return -ENOMEM;
	bench->pdev = pdev;
	mutex_init(&bench->lock);
	init_completion(&bench->come);

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(dev, ret, "cannot be enabled\n");
	ret = pcim_iomap_regions(pdev, BIT(ACCEL_BENCH_BAR), KBUILD_MODNAME);
	if (ret)
		return dev_err_probe(dev, ret, "BAR %d cannot be mapped\n", ACCEL_BENCH_BAR);
	bench->regs = pcim_iomap_table(pdev)[ACCEL_BENCH_BAR];
	value = readl(bench->regs + ACCEL_BENCH_REG_ID);
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
	ret = misc_register(&bench->misc);
	if (ret)
		return dev_err_probe(dev, ret, "no character device\n");
	return 0;
}

static void accel_bench_remove(struct pci_dev *pdev)
{
	struct accel_bench *bench = pci_get_drvdata(pdev);

	misc_deregister(&bench->misc);
	pci_clear_master(pdev);
	/* This read brings what the device wrote until then. */
	readl(bench->regs + ACCEL_BENCH_REG_ID);
}

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
	/* An open file keeps the module; nothing else may take the device from it. */
	.driver.suppress_bind_attrs = true,
};
module_pci_driver(accel_bench_driver);

MODULE_DESCRIPTION("Driver of the design that the co-simulation is measured with");
MODULE_LICENSE("GPL");
