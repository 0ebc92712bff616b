// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Driver for the sort accelerator, a PCI Express function that takes blocks of
 * 1,024 keys from memory, sorts them and writes them back.
 *
 * The device works off a ring of descriptors in coherent memory, in order. The
 * driver writes a descriptor, moves TAIL, and finds the status in the descriptor
 * when the device is done; vector 0 of MSI-X or MSI says that there is something to
 * find, vector 1 that something went wrong. The completion path reads no register: the
 * device writes the status after the data and raises the interrupt after both,
 * and PCI Express keeps that order.
 *
 * Keys are copied between the caller and pages of the driver, one pair for each
 * block under way. A caller that is interrupted leaves at once; the device finishes
 * with the driver's pages and they are freed then.
 *
 * The device may be reset, lose its state or vanish at any time. Whatever is in the
 * ring then comes back with an error, the driver's state is "stopped", and the next
 * request tries to start the device again.
 *
 * Where user space allows it (power/control is auto), a device that nobody has open is
 * stopped and sleeps in D3hot; open() wakes it.
 */

#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "../uapi/accel_sort.h"

#define ACCEL_SORT_BAR			0
#define ACCEL_SORT_BAR_BYTES		0x100

#define ACCEL_SORT_REG_ID		0x000
#define   ACCEL_SORT_ID			0x54524f53
#define ACCEL_SORT_REG_VERSION		0x004
#define   ACCEL_SORT_VERSION_MAJOR(v)	((v) >> 16)
#define ACCEL_SORT_REG_CAPS		0x008
#define   ACCEL_SORT_CAPS_KEYS(c)	((c) & 0xffff)
#define   ACCEL_SORT_CAPS_RING_LOG2(c)	(((c) >> 16) & 0xff)
#define   ACCEL_SORT_CAPS_VECTORS(c)	((c) >> 24)
#define ACCEL_SORT_REG_CONTROL		0x00c
#define   ACCEL_SORT_CONTROL_ENABLE	BIT(0)
#define   ACCEL_SORT_CONTROL_RESET	BIT(1)
#define ACCEL_SORT_REG_STATUS		0x010
#define   ACCEL_SORT_STATUS_ERROR	BIT(1)
#define ACCEL_SORT_REG_IRQ_ENABLE	0x018
#define   ACCEL_SORT_IRQ_DONE		BIT(0)
#define   ACCEL_SORT_IRQ_ERROR		BIT(1)
#define ACCEL_SORT_REG_RING_BASE_LO	0x020
#define ACCEL_SORT_REG_RING_BASE_HI	0x024
#define ACCEL_SORT_REG_RING_LOG2	0x028
#define ACCEL_SORT_REG_TAIL		0x02c
#define ACCEL_SORT_REG_HEAD		0x030
#define ACCEL_SORT_REG_ERR_INFO		0x034
#define   ACCEL_SORT_ERR_CODE(e)	((e) & 0xff)
#define   ACCEL_SORT_ERR_INDEX(e)	((e) >> 16)
#define   ACCEL_SORT_ERR_FETCH		2
#define ACCEL_SORT_REG_BLOCKS		0x040
#define ACCEL_SORT_REG_MSIX		0x044
#define ACCEL_SORT_REG_DMA_RD_BYTES	0x048
#define ACCEL_SORT_REG_DMA_WR_BYTES	0x050
#define ACCEL_SORT_REG_CYCLES		0x058

/* What a read returns when nobody answers. */
#define ACCEL_SORT_ALL_ONES		(~0U)

#define ACCEL_SORT_VECTOR_DONE		0
#define ACCEL_SORT_VECTOR_ERROR		1
#define ACCEL_SORT_VECTORS		2

#define ACCEL_SORT_RESET_US		(10 * USEC_PER_SEC)

/* For so long a device that was reset may not answer yet. */
#define ACCEL_SORT_BACK_US		(3 * USEC_PER_SEC)

/* Blocks that one request has under way at most. */
#define ACCEL_SORT_BATCH		16

/* For so long nobody has a device open that is put to sleep. */
#define ACCEL_SORT_IDLE_MS		500

static unsigned int ring_log2 = 6;
module_param(ring_log2, uint, 0444);
MODULE_PARM_DESC(ring_log2, "log2 of the entries of the descriptor ring, 1 to 10 (default 6)");

static unsigned int warn_ms = 5000;
module_param(warn_ms, uint, 0644);
MODULE_PARM_DESC(warn_ms, "a wait for the device is reported each time so many ms are over, at least 100 (default 5000)");

static unsigned int timeout_s = 120;
module_param(timeout_s, uint, 0644);
MODULE_PARM_DESC(timeout_s, "a device that finishes nothing for so many seconds is reset; 0 waits without end (default 120)");

/* A descriptor, as the device reads it. It writes the last 16 bytes back. */
struct accel_sort_desc {
	__le64 src;
	__le64 dst;
	__le32 keys;
	__le32 flags;
	__le32 cookie;
	__le32 status;
};
static_assert(sizeof(struct accel_sort_desc) == 32);

#define ACCEL_SORT_DESC_DESCENDING	BIT(0)
#define ACCEL_SORT_DESC_INTERRUPT	BIT(1)
#define ACCEL_SORT_DESC_STATUS_DONE	1

/**
 * struct accel_sort_job - a block on its way
 * @ref: one of who waits for it, one of the ring
 * @done: @result is there, and the device is done with the pages
 * @result: 0 or an error
 * @flags: flags of the descriptor
 * @src: page with the keys
 * @dst: page for the sorted keys
 * @src_dma: @src as the device sees it, while the job is in the ring
 * @dst_dma: @dst as the device sees it, while the job is in the ring
 */
struct accel_sort_job {
	struct kref ref;
	struct completion done;
	int result;
	u32 flags;
	void *src;
	void *dst;
	dma_addr_t src_dma;
	dma_addr_t dst_dma;
};

/**
 * enum accel_sort_state - what may be done with a device; the order matters
 * @ACCEL_SORT_STOPPED: the next request starts it
 * @ACCEL_SORT_RUNNING: it works
 * @ACCEL_SORT_FAILED: an error of PCI Express is being recovered from, or that has
 *	failed: nobody touches the device, requests end with -EIO
 * @ACCEL_SORT_GONE: the driver is not bound to it any more, or the machine goes down
 */
enum accel_sort_state {
	ACCEL_SORT_STOPPED,
	ACCEL_SORT_RUNNING,
	ACCEL_SORT_FAILED,
	ACCEL_SORT_GONE,
};

/**
 * struct accel_sort - a device
 * @ref: one of the driver's binding, one of each open file
 * @pdev: the PCI function, which stays until the last file is closed, unplugged or not;
 *	its hardware is not used once @state is ACCEL_SORT_GONE
 * @misc: the character device
 * @number: N in its name
 * @regs: BAR 0
 * @gate: held for reading by who uses the hardware, for writing by who starts, stops
 *	or removes it. Nobody who holds it waits for the device to wake up: what puts
 *	it to sleep takes the gate
 * @state: changes under @gate
 * @starts: how often the device was started; changes under @gate
 * @fatal: the link was not to be used after the last error of PCI Express; changes under @gate
 * @counters: reading the low word of a counter holds the high word, of one at a time
 * @ring: the descriptors
 * @ring_dma: @ring as the device sees it
 * @mask: entries of the ring less one
 * @lock: guards what follows
 * @jobs: the job of each descriptor that the device has
 * @head: the oldest descriptor that the device has
 * @tail: the first that it has not
 * @retired: descriptors that came back
 * @blocks_done: of these, those that were sorted
 * @done_interrupts: interrupts of vector 0
 * @error_interrupts: interrupts of vector 1
 * @space: who waits for a free descriptor
 */
struct accel_sort {
	struct kref ref;
	struct pci_dev *pdev;
	struct miscdevice misc;
	int number;
	void __iomem *regs;

	struct rw_semaphore gate;
	enum accel_sort_state state;
	u64 starts;
	bool fatal;

	struct mutex counters;

	struct accel_sort_desc *ring;
	dma_addr_t ring_dma;
	unsigned int mask;

	spinlock_t lock;
	struct accel_sort_job **jobs;
	unsigned int head;
	unsigned int tail;
	u64 retired;
	u64 blocks_done;
	u64 done_interrupts;
	u64 error_interrupts;

	wait_queue_head_t space;
};

static DEFINE_IDA(accel_sort_numbers);

static u32 accel_sort_read(struct accel_sort *accel, unsigned int offset)
{
	return readl(accel->regs + offset);
}

static void accel_sort_write(struct accel_sort *accel, unsigned int offset, u32 value)
{
	writel(value, accel->regs + offset);
}

static void accel_sort_free(struct kref *ref)
{
	struct accel_sort *accel = container_of(ref, struct accel_sort, ref);

	pci_dev_put(accel->pdev);
	kfree(accel);
}

/* ---- jobs ---- */

static void accel_sort_job_free(struct kref *ref)
{
	struct accel_sort_job *job = container_of(ref, struct accel_sort_job, ref);

	free_page((unsigned long)job->src);
	free_page((unsigned long)job->dst);
	kfree(job);
}

static void accel_sort_job_put(struct accel_sort_job *job)
{
	kref_put(&job->ref, accel_sort_job_free);
}

static struct accel_sort_job *accel_sort_job_new(u32 flags)
{
	struct accel_sort_job *job;

	BUILD_BUG_ON(PAGE_SIZE < ACCEL_SORT_BLOCK_BYTES);

	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return NULL;
	kref_init(&job->ref);
	init_completion(&job->done);
	job->flags = ACCEL_SORT_DESC_INTERRUPT;
	if (flags & ACCEL_SORT_DESCENDING)
		job->flags |= ACCEL_SORT_DESC_DESCENDING;
	job->src = (void *)__get_free_page(GFP_KERNEL);
	/* Not written by a device that misbehaves, but given to the caller. */
	job->dst = (void *)get_zeroed_page(GFP_KERNEL);
	if (!job->src || !job->dst) {
		accel_sort_job_put(job);
		return NULL;
	}
	return job;
}

static int accel_sort_job_map(struct device *dev, struct accel_sort_job *job)
{
	job->src_dma = dma_map_single(dev, job->src, ACCEL_SORT_BLOCK_BYTES, DMA_TO_DEVICE);
	if (dma_mapping_error(dev, job->src_dma))
		return -ENOMEM;
	job->dst_dma = dma_map_single(dev, job->dst, ACCEL_SORT_BLOCK_BYTES, DMA_FROM_DEVICE);
	if (dma_mapping_error(dev, job->dst_dma)) {
		dma_unmap_single(dev, job->src_dma, ACCEL_SORT_BLOCK_BYTES, DMA_TO_DEVICE);
		return -ENOMEM;
	}
	return 0;
}

static void accel_sort_job_unmap(struct device *dev, struct accel_sort_job *job)
{
	dma_unmap_single(dev, job->dst_dma, ACCEL_SORT_BLOCK_BYTES, DMA_FROM_DEVICE);
	dma_unmap_single(dev, job->src_dma, ACCEL_SORT_BLOCK_BYTES, DMA_TO_DEVICE);
}

/* ---- the ring ---- */

static bool accel_sort_full(struct accel_sort *accel)
{
	return ((READ_ONCE(accel->tail) + 1) & accel->mask) == READ_ONCE(accel->head);
}

/*
 * Takes back what the device has finished. The descriptors before @until are known to
 * be finished: those among them that have no status get @error. @until is @accel->head
 * if nothing is known. Called with @accel->lock held.
 */
static void accel_sort_retire(struct accel_sort *accel, unsigned int until, int error)
{
	unsigned int known = (until - accel->head) & accel->mask;
	struct accel_sort_job *job;
	u32 status;

	while (accel->head != accel->tail) {
		status = le32_to_cpu(READ_ONCE(accel->ring[accel->head].status));
		if (!status && !known)
			break;
		if (known)
			known--;
		/* The data was written before the status. */
		dma_rmb();

		job = accel->jobs[accel->head];
		accel->jobs[accel->head] = NULL;
		accel_sort_job_unmap(&accel->pdev->dev, job);
		if (status == ACCEL_SORT_DESC_STATUS_DONE)
			job->result = 0;
		else
			job->result = status ? -EIO : error;
		accel->blocks_done += !job->result;
		accel->retired++;
		WRITE_ONCE(accel->head, (accel->head + 1) & accel->mask);
		complete(&job->done);
		accel_sort_job_put(job);
	}
	wake_up_all(&accel->space);
}

/* ---- start and stop, with the gate held for writing ---- */

/*
 * Makes the device forget everything. It is done with all memory when this returns 0;
 * otherwise nothing is known about it.
 */
static int accel_sort_soft_reset(struct accel_sort *accel)
{
	u32 control;
	int ret;

	accel_sort_write(accel, ACCEL_SORT_REG_CONTROL, ACCEL_SORT_CONTROL_RESET);
	ret = read_poll_timeout(accel_sort_read, control,
				control == ACCEL_SORT_ALL_ONES ||
				!(control & ACCEL_SORT_CONTROL_RESET),
				1000, ACCEL_SORT_RESET_US, false,
				accel, ACCEL_SORT_REG_CONTROL);
	if (control == ACCEL_SORT_ALL_ONES)
		return -ENODEV;
	if (ret)
		dev_err(&accel->pdev->dev, "SOFT_RESET is not over after %lu s, CONTROL is %#x\n",
			ACCEL_SORT_RESET_US / USEC_PER_SEC, control);
	return ret;
}

static int accel_sort_start(struct accel_sort *accel)
{
	struct device *dev = &accel->pdev->dev;
	unsigned long flags;
	u32 id;
	int ret;

	id = accel_sort_read(accel, ACCEL_SORT_REG_ID);
	if (id != ACCEL_SORT_ID) {
		dev_err(dev, "register ID is %#x, expected %#x\n", id, ACCEL_SORT_ID);
		return -ENODEV;
	}
	/* It was taken away if the device could not be stopped. */
	pci_set_master(accel->pdev);
	ret = accel_sort_soft_reset(accel);
	if (ret) {
		pci_clear_master(accel->pdev);
		return ret;
	}

	/* The ring is empty, but a late interrupt may come. */
	spin_lock_irqsave(&accel->lock, flags);
	memset(accel->ring, 0, (accel->mask + 1) * sizeof(*accel->ring));
	accel->head = 0;
	accel->tail = 0;
	spin_unlock_irqrestore(&accel->lock, flags);
	accel_sort_write(accel, ACCEL_SORT_REG_RING_BASE_LO, lower_32_bits(accel->ring_dma));
	accel_sort_write(accel, ACCEL_SORT_REG_RING_BASE_HI, upper_32_bits(accel->ring_dma));
	accel_sort_write(accel, ACCEL_SORT_REG_RING_LOG2, ilog2(accel->mask + 1));
	accel_sort_write(accel, ACCEL_SORT_REG_TAIL, 0);
	accel_sort_write(accel, ACCEL_SORT_REG_IRQ_ENABLE,
			 ACCEL_SORT_IRQ_DONE | ACCEL_SORT_IRQ_ERROR);
	accel_sort_write(accel, ACCEL_SORT_REG_CONTROL, ACCEL_SORT_CONTROL_ENABLE);
	accel->state = ACCEL_SORT_RUNNING;
	accel->starts++;
	return 0;
}

/* Stops the device; what it has not finished gets @error. */
static void accel_sort_halt(struct accel_sort *accel, int error)
{
	unsigned long flags;

	if (accel->state != ACCEL_SORT_RUNNING)
		return;
	/* A device that does not obey must not write to memory that is freed. */
	if (accel_sort_soft_reset(accel))
		pci_clear_master(accel->pdev);
	accel->state = ACCEL_SORT_STOPPED;

	spin_lock_irqsave(&accel->lock, flags);
	accel_sort_retire(accel, accel->tail, error);
	spin_unlock_irqrestore(&accel->lock, flags);
}

/* The same from without, unless somebody else was quicker since @start. */
static void accel_sort_stop(struct accel_sort *accel, u64 start, int error)
{
	down_write(&accel->gate);
	if (accel->starts == start)
		accel_sort_halt(accel, error);
	up_write(&accel->gate);
}

/* ---- interrupts ---- */

static irqreturn_t accel_sort_done_irq(int irq, void *data)
{
	struct accel_sort *accel = data;

	spin_lock(&accel->lock);
	accel->done_interrupts++;
	accel_sort_retire(accel, accel->head, 0);
	spin_unlock(&accel->lock);
	return IRQ_HANDLED;
}

/*
 * Of the only vector, which says that there is something to find or that something
 * went wrong: of MSI a platform may grant one and no more.
 */
static irqreturn_t accel_sort_only_irq(int irq, void *data)
{
	accel_sort_done_irq(irq, data);
	return IRQ_WAKE_THREAD;
}

static const char *accel_sort_error_name(u32 code)
{
	static const char * const names[] = {
		"no error", "bad descriptor", "the descriptor cannot be read",
		"the block cannot be read", "the block or the status cannot be written",
	};

	return code < ARRAY_SIZE(names) ? names[code] : "unknown error";
}

/*
 * Reads, reports and clears the device's error, with the gate held for reading.
 * Returns 0, or the reason for which the device has to be stopped.
 */
static int accel_sort_check_error(struct accel_sort *accel)
{
	struct device *dev = &accel->pdev->dev;
	unsigned int known_head;
	u32 status, info, head;
	unsigned long flags;
	u64 retired;

	spin_lock_irqsave(&accel->lock, flags);
	known_head = accel->head;
	retired = accel->retired;
	spin_unlock_irqrestore(&accel->lock, flags);

	status = accel_sort_read(accel, ACCEL_SORT_REG_STATUS);
	if (status != ACCEL_SORT_ALL_ONES && !(status & ACCEL_SORT_STATUS_ERROR))
		return 0;
	info = accel_sort_read(accel, ACCEL_SORT_REG_ERR_INFO);
	accel_sort_write(accel, ACCEL_SORT_REG_STATUS, ACCEL_SORT_STATUS_ERROR);
	/* This read brings every status that the device wrote before with it. */
	head = accel_sort_read(accel, ACCEL_SORT_REG_HEAD);
	if (status == ACCEL_SORT_ALL_ONES || head > accel->mask) {
		dev_err(dev, "the device does not answer: STATUS is %#x, HEAD is %#x\n",
			status, head);
		return -ENODEV;
	}
	dev_err(dev, "descriptor %u: %s (code %u)\n", ACCEL_SORT_ERR_INDEX(info),
		accel_sort_error_name(ACCEL_SORT_ERR_CODE(info)), ACCEL_SORT_ERR_CODE(info));
	if (ACCEL_SORT_ERR_CODE(info) == ACCEL_SORT_ERR_FETCH)
		return -EIO;

	/*
	 * A status that could not be written is missing. The interrupt may have gone
	 * on since HEAD was read: then HEAD is old, and says nothing any more.
	 */
	spin_lock_irqsave(&accel->lock, flags);
	if (accel->retired - retired < ((head - known_head) & accel->mask))
		accel_sort_retire(accel, head, -EIO);
	else
		accel_sort_retire(accel, accel->head, 0);
	spin_unlock_irqrestore(&accel->lock, flags);
	return 0;
}

static irqreturn_t accel_sort_error_irq(int irq, void *data)
{
	struct accel_sort *accel = data;

	spin_lock(&accel->lock);
	accel->error_interrupts++;
	spin_unlock(&accel->lock);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t accel_sort_error_thread(int irq, void *data)
{
	struct accel_sort *accel = data;
	int ret = 0;
	u64 start;

	down_read(&accel->gate);
	start = accel->starts;
	if (accel->state == ACCEL_SORT_RUNNING)
		ret = accel_sort_check_error(accel);
	up_read(&accel->gate);
	if (ret)
		accel_sort_stop(accel, start, ret);
	return IRQ_HANDLED;
}

/* ---- waiting ---- */

/**
 * struct accel_sort_patience - how long somebody has been waiting
 * @retired: what @accel->retired was
 * @stalled_ms: time for which it has been the same
 */
struct accel_sort_patience {
	u64 retired;
	unsigned int stalled_ms;
};

static unsigned int accel_sort_warn_ms(void)
{
	return clamp(READ_ONCE(warn_ms), 100U, 3600U * 1000);
}

/*
 * Called when a wait of accel_sort_warn_ms() brought nothing: finds out why, says so,
 * and stops a device that does not go on. Whatever waits is woken then.
 */
static void accel_sort_look(struct accel_sort *accel, struct accel_sort_patience *patience)
{
	unsigned int limit_s = READ_ONCE(timeout_s), tail;
	u32 control, head;
	unsigned long flags;
	u64 retired, start;
	int ret;

	down_read(&accel->gate);
	start = accel->starts;
	if (accel->state != ACCEL_SORT_RUNNING) {
		up_read(&accel->gate);
		return;
	}
	ret = accel_sort_check_error(accel);
	if (ret)
		goto out;

	control = accel_sort_read(accel, ACCEL_SORT_REG_CONTROL);
	head = accel_sort_read(accel, ACCEL_SORT_REG_HEAD);
	spin_lock_irqsave(&accel->lock, flags);
	retired = accel->retired;
	accel_sort_retire(accel, accel->head, 0);
	tail = accel->tail;
	if (retired != accel->retired)
		dev_warn(&accel->pdev->dev, "%llu blocks were done without an interrupt\n",
			 accel->retired - retired);
	retired = accel->retired;
	spin_unlock_irqrestore(&accel->lock, flags);

	if (patience->retired != retired) {
		patience->retired = retired;
		patience->stalled_ms = 0;
	} else {
		patience->stalled_ms += accel_sort_warn_ms();
	}
	if (control == ACCEL_SORT_ALL_ONES) {
		dev_err(&accel->pdev->dev, "the device does not answer: CONTROL is %#x\n", control);
		ret = -ENODEV;
	} else if (!(control & ACCEL_SORT_CONTROL_ENABLE)) {
		dev_err(&accel->pdev->dev, "the device was reset behind the driver: CONTROL is %#x\n",
			control);
		ret = -EIO;
	} else if (limit_s && patience->stalled_ms / 1000 >= limit_s) {
		dev_err(&accel->pdev->dev, "nothing was done for %u s (HEAD %u, TAIL %u): resetting\n",
			patience->stalled_ms / 1000, head, tail);
		ret = -ETIMEDOUT;
	} else if (patience->stalled_ms) {
		dev_warn(&accel->pdev->dev, "waiting for the device for %u ms (HEAD %u, TAIL %u)\n",
			 patience->stalled_ms, head, tail);
	}
out:
	up_read(&accel->gate);
	if (ret)
		accel_sort_stop(accel, start, ret);
}

/* Waits until a job is done. A signal ends the wait, not the job. */
static int accel_sort_wait(struct accel_sort *accel, struct accel_sort_job *job,
			   struct accel_sort_patience *patience)
{
	long left;

	for (;;) {
		left = wait_for_completion_interruptible_timeout(&job->done,
						msecs_to_jiffies(accel_sort_warn_ms()));
		if (left < 0)
			return left;
		if (left > 0)
			return job->result;
		accel_sort_look(accel, patience);
	}
}

/* ---- requests ---- */

/* Gives a job to the device. -EAGAIN: the ring is full. */
static int accel_sort_submit(struct accel_sort *accel, struct accel_sort_job *job)
{
	struct accel_sort_desc *desc;
	unsigned long flags;
	int ret;

	down_read(&accel->gate);
	if (accel->state == ACCEL_SORT_STOPPED) {
		up_read(&accel->gate);
		down_write(&accel->gate);
		ret = accel->state == ACCEL_SORT_STOPPED ? accel_sort_start(accel) : 0;
		downgrade_write(&accel->gate);
		if (ret)
			goto out;
	}
	ret = accel->state == ACCEL_SORT_FAILED ? -EIO : -ENODEV;
	if (accel->state != ACCEL_SORT_RUNNING)
		goto out;
	ret = -EAGAIN;
	if (accel_sort_full(accel))
		goto out;
	ret = accel_sort_job_map(&accel->pdev->dev, job);
	if (ret)
		goto out;

	spin_lock_irqsave(&accel->lock, flags);
	if (accel_sort_full(accel)) {
		ret = -EAGAIN;
	} else {
		desc = &accel->ring[accel->tail];
		desc->src = cpu_to_le64(job->src_dma);
		desc->dst = cpu_to_le64(job->dst_dma);
		desc->keys = cpu_to_le32(ACCEL_SORT_KEYS);
		desc->flags = cpu_to_le32(job->flags);
		desc->cookie = cpu_to_le32(accel->tail);
		desc->status = 0;
		kref_get(&job->ref);
		accel->jobs[accel->tail] = job;
		WRITE_ONCE(accel->tail, (accel->tail + 1) & accel->mask);
		/* Ordered after the descriptor by writel(). */
		accel_sort_write(accel, ACCEL_SORT_REG_TAIL, accel->tail);
	}
	spin_unlock_irqrestore(&accel->lock, flags);
	if (ret)
		accel_sort_job_unmap(&accel->pdev->dev, job);
out:
	up_read(&accel->gate);
	return ret;
}

static int accel_sort_submit_wait(struct accel_sort *accel, struct accel_sort_job *job,
				  struct accel_sort_patience *patience)
{
	long left;
	int ret;

	for (;;) {
		ret = accel_sort_submit(accel, job);
		if (ret != -EAGAIN)
			return ret;
		left = wait_event_interruptible_timeout(accel->space, !accel_sort_full(accel),
						msecs_to_jiffies(accel_sort_warn_ms()));
		if (left < 0)
			return left;
		if (!left)
			accel_sort_look(accel, patience);
	}
}

static int accel_sort_blocks(struct accel_sort *accel, struct accel_sort_request *request)
{
	const u8 __user *src = u64_to_user_ptr(request->src);
	u8 __user *dst = u64_to_user_ptr(request->dst);
	struct accel_sort_job *jobs[ACCEL_SORT_BATCH], *job;
	struct accel_sort_patience patience = { .retired = READ_ONCE(accel->retired) };
	u32 submitted = 0, finished = 0;
	int ret = 0;

	while (finished < request->blocks) {
		while (submitted < request->blocks && submitted - finished < ACCEL_SORT_BATCH) {
			job = accel_sort_job_new(request->flags);
			if (!job) {
				ret = -ENOMEM;
				goto out;
			}
			if (copy_from_user(job->src, src + (u64)submitted * ACCEL_SORT_BLOCK_BYTES,
					   ACCEL_SORT_BLOCK_BYTES))
				ret = -EFAULT;
			else if (submitted == finished)
				ret = accel_sort_submit_wait(accel, job, &patience);
			else
				ret = accel_sort_submit(accel, job);
			if (ret)
				accel_sort_job_put(job);
			/* Others have the ring: finish what is there first. */
			if (ret == -EAGAIN)
				break;
			if (ret)
				goto out;
			jobs[submitted++ % ACCEL_SORT_BATCH] = job;
		}

		job = jobs[finished % ACCEL_SORT_BATCH];
		ret = accel_sort_wait(accel, job, &patience);
		if (!ret && copy_to_user(dst + (u64)finished * ACCEL_SORT_BLOCK_BYTES, job->dst,
					 ACCEL_SORT_BLOCK_BYTES))
			ret = -EFAULT;
		if (ret)
			goto out;
		accel_sort_job_put(job);
		finished++;
	}
out:
	request->sorted = finished;
	/* What is still with the device stays there until it is done. */
	for (; finished < submitted; finished++)
		accel_sort_job_put(jobs[finished % ACCEL_SORT_BATCH]);
	/* With blocks delivered, the caller has to know. */
	if (ret == -ERESTARTSYS && request->sorted)
		ret = -EINTR;
	return ret;
}

static int accel_sort_ioctl_sort(struct accel_sort *accel, void __user *argument)
{
	struct accel_sort_request request;
	int ret;

	if (copy_from_user(&request, argument, sizeof(request)))
		return -EFAULT;
	if (!request.blocks || (request.flags & ~ACCEL_SORT_DESCENDING) || request.reserved)
		return -EINVAL;
	ret = accel_sort_blocks(accel, &request);
	if (copy_to_user(argument, &request, sizeof(request)))
		return -EFAULT;
	return ret;
}

static u64 accel_sort_read64(struct accel_sort *accel, unsigned int offset)
{
	u32 low = accel_sort_read(accel, offset);

	return low | (u64)accel_sort_read(accel, offset + 4) << 32;
}

static int accel_sort_ioctl_info(struct accel_sort *accel, void __user *argument)
{
	struct accel_sort_info info = {};
	unsigned long flags;
	int ret;

	down_read(&accel->gate);
	if (accel->state == ACCEL_SORT_GONE || accel->state == ACCEL_SORT_FAILED) {
		ret = accel->state == ACCEL_SORT_GONE ? -ENODEV : -EIO;
		up_read(&accel->gate);
		return ret;
	}
	mutex_lock(&accel->counters);
	info.version = accel_sort_read(accel, ACCEL_SORT_REG_VERSION);
	info.caps = accel_sort_read(accel, ACCEL_SORT_REG_CAPS);
	info.blocks = accel_sort_read(accel, ACCEL_SORT_REG_BLOCKS);
	info.msix = accel_sort_read(accel, ACCEL_SORT_REG_MSIX);
	info.dma_read_bytes = accel_sort_read64(accel, ACCEL_SORT_REG_DMA_RD_BYTES);
	info.dma_write_bytes = accel_sort_read64(accel, ACCEL_SORT_REG_DMA_WR_BYTES);
	info.cycles = accel_sort_read64(accel, ACCEL_SORT_REG_CYCLES);
	/* Last: if it answered this, it answered the others. */
	info.id = accel_sort_read(accel, ACCEL_SORT_REG_ID);
	mutex_unlock(&accel->counters);
	info.starts = accel->starts;
	up_read(&accel->gate);
	if (info.id == ACCEL_SORT_ALL_ONES)
		return -ENODEV;

	info.ring_entries = accel->mask + 1;
	spin_lock_irqsave(&accel->lock, flags);
	info.done_interrupts = accel->done_interrupts;
	info.error_interrupts = accel->error_interrupts;
	info.blocks_done = accel->blocks_done;
	info.blocks_failed = accel->retired - accel->blocks_done;
	spin_unlock_irqrestore(&accel->lock, flags);
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

/* ---- character device ---- */

static int accel_sort_open(struct inode *inode, struct file *file)
{
	/* misc_open() leaves it there, and misc_deregister() waits for us. */
	struct miscdevice *misc = file->private_data;
	struct accel_sort *accel = container_of(misc, struct accel_sort, misc);

	/* Counters are from the device's last reset, which sleep is as well. */
	if (pm_runtime_resume_and_get(&accel->pdev->dev) < 0)
		return -ENODEV;
	kref_get(&accel->ref);
	file->private_data = accel;
	return 0;
}

static int accel_sort_release(struct inode *inode, struct file *file)
{
	struct accel_sort *accel = file->private_data;

	pm_runtime_mark_last_busy(&accel->pdev->dev);
	pm_runtime_put_autosuspend(&accel->pdev->dev);
	kref_put(&accel->ref, accel_sort_free);
	return 0;
}

static long accel_sort_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct accel_sort *accel = file->private_data;

	switch (command) {
	case ACCEL_SORT_IOC_SORT:
		return accel_sort_ioctl_sort(accel, (void __user *)argument);
	case ACCEL_SORT_IOC_INFO:
		return accel_sort_ioctl_info(accel, (void __user *)argument);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations accel_sort_fops = {
	.owner = THIS_MODULE,
	.open = accel_sort_open,
	.release = accel_sort_release,
	.unlocked_ioctl = accel_sort_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- binding ---- */

static void accel_sort_put(void *data)
{
	struct accel_sort *accel = data;

	kref_put(&accel->ref, accel_sort_free);
}

static void accel_sort_free_number(void *data)
{
	struct accel_sort *accel = data;

	ida_free(&accel_sort_numbers, accel->number);
}

/* Checks that the device is one that this driver knows. Returns the ring's log2. */
static int accel_sort_identify(struct accel_sort *accel)
{
	struct device *dev = &accel->pdev->dev;
	u32 id, version, caps;

	id = accel_sort_read(accel, ACCEL_SORT_REG_ID);
	if (id != ACCEL_SORT_ID)
		return dev_err_probe(dev, -ENODEV, "register ID is %#x, expected %#x\n",
				     id, ACCEL_SORT_ID);
	version = accel_sort_read(accel, ACCEL_SORT_REG_VERSION);
	if (ACCEL_SORT_VERSION_MAJOR(version) != 1)
		return dev_err_probe(dev, -ENODEV, "register VERSION is %#x, expected 0x1xxxx\n",
				     version);
	caps = accel_sort_read(accel, ACCEL_SORT_REG_CAPS);
	if (ACCEL_SORT_CAPS_KEYS(caps) != ACCEL_SORT_KEYS)
		return dev_err_probe(dev, -ENODEV, "blocks have %u keys, expected %u\n",
				     ACCEL_SORT_CAPS_KEYS(caps), ACCEL_SORT_KEYS);
	if (ACCEL_SORT_CAPS_VECTORS(caps) < ACCEL_SORT_VECTORS)
		return dev_err_probe(dev, -ENODEV, "%u interrupt vectors, expected %u\n",
				     ACCEL_SORT_CAPS_VECTORS(caps), ACCEL_SORT_VECTORS);
	if (ACCEL_SORT_CAPS_RING_LOG2(caps) < 1)
		return dev_err_probe(dev, -ENODEV, "no ring: register CAPS is %#x\n", caps);
	return clamp(ring_log2, 1U, min(ACCEL_SORT_CAPS_RING_LOG2(caps), 10U));
}

/*
 * MSI-X, or MSI if the card has that alone. All vectors of MSI are sent to one address, so that a
 * platform without interrupt remapping grants one; then all vectors are that one.
 */
static int accel_sort_request_irqs(struct accel_sort *accel)
{
	struct pci_dev *pdev = accel->pdev;
	struct device *dev = &pdev->dev;
	int vectors, ret;

	vectors = pci_alloc_irq_vectors(pdev, ACCEL_SORT_VECTORS, ACCEL_SORT_VECTORS,
					PCI_IRQ_MSIX | PCI_IRQ_MSI);
	if (vectors < 0)
		vectors = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (vectors < 0)
		return dev_err_probe(dev, vectors, "no vectors of MSI-X or MSI\n");
	if (vectors < ACCEL_SORT_VECTORS) {
		ret = devm_request_threaded_irq(dev, pci_irq_vector(pdev, 0), accel_sort_only_irq,
						accel_sort_error_thread, 0, "accel_sort-done",
						accel);
		return ret ? dev_err_probe(dev, ret, "no interrupt for the only vector\n") : 0;
	}
	ret = devm_request_irq(dev, pci_irq_vector(pdev, ACCEL_SORT_VECTOR_DONE),
			       accel_sort_done_irq, 0, "accel_sort-done", accel);
	if (ret)
		return dev_err_probe(dev, ret, "no interrupt for vector %u\n",
				     ACCEL_SORT_VECTOR_DONE);
	ret = devm_request_threaded_irq(dev, pci_irq_vector(pdev, ACCEL_SORT_VECTOR_ERROR),
					accel_sort_error_irq, accel_sort_error_thread, 0,
					"accel_sort-error", accel);
	if (ret)
		return dev_err_probe(dev, ret, "no interrupt for vector %u\n",
				     ACCEL_SORT_VECTOR_ERROR);
	return 0;
}

static int accel_sort_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct accel_sort *accel;
	int ret, log2;

	accel = kzalloc(sizeof(*accel), GFP_KERNEL);
	if (!accel)
		return -ENOMEM;
	kref_init(&accel->ref);
	accel->pdev = pci_dev_get(pdev);
	init_rwsem(&accel->gate);
	mutex_init(&accel->counters);
	spin_lock_init(&accel->lock);
	init_waitqueue_head(&accel->space);
	/* First, so that it is undone last: the interrupt handlers use it. */
	ret = devm_add_action_or_reset(dev, accel_sort_put, accel);
	if (ret)
		return ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(dev, ret, "the function cannot be enabled\n");
	if (pci_resource_len(pdev, ACCEL_SORT_BAR) < ACCEL_SORT_BAR_BYTES)
		return dev_err_probe(dev, -ENODEV, "BAR %u has %llu bytes, expected at least %u\n",
				     ACCEL_SORT_BAR,
				     (u64)pci_resource_len(pdev, ACCEL_SORT_BAR),
				     ACCEL_SORT_BAR_BYTES);
	ret = pcim_iomap_regions(pdev, BIT(ACCEL_SORT_BAR), KBUILD_MODNAME);
	if (ret)
		return dev_err_probe(dev, ret, "BAR %u cannot be mapped\n", ACCEL_SORT_BAR);
	accel->regs = pcim_iomap_table(pdev)[ACCEL_SORT_BAR];
	log2 = accel_sort_identify(accel);
	if (log2 < 0)
		return log2;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return dev_err_probe(dev, ret, "no 64-bit DMA\n");
	accel->mask = BIT(log2) - 1;
	accel->jobs = devm_kcalloc(dev, BIT(log2), sizeof(*accel->jobs), GFP_KERNEL);
	accel->ring = dmam_alloc_coherent(dev, BIT(log2) * sizeof(*accel->ring),
					  &accel->ring_dma, GFP_KERNEL);
	if (!accel->jobs || !accel->ring)
		return -ENOMEM;

	ret = accel_sort_request_irqs(accel);
	if (ret)
		return ret;

	accel->number = ida_alloc(&accel_sort_numbers, GFP_KERNEL);
	if (accel->number < 0)
		return accel->number;
	ret = devm_add_action_or_reset(dev, accel_sort_free_number, accel);
	if (ret)
		return ret;
	accel->misc.minor = MISC_DYNAMIC_MINOR;
	accel->misc.name = devm_kasprintf(dev, GFP_KERNEL, "accel_sort%d", accel->number);
	if (!accel->misc.name)
		return -ENOMEM;
	accel->misc.fops = &accel_sort_fops;
	accel->misc.parent = dev;

	pci_set_drvdata(pdev, accel);
	ret = accel_sort_start(accel);
	if (ret)
		return dev_err_probe(dev, ret, "the device cannot be started\n");
	/* For slot_reset(). */
	pci_save_state(pdev);
	ret = misc_register(&accel->misc);
	if (ret) {
		accel_sort_halt(accel, -ENODEV);
		return dev_err_probe(dev, ret, "no character device\n");
	}
	/* The PCI core holds one reference for us. remove() takes it back. */
	pm_runtime_set_autosuspend_delay(dev, ACCEL_SORT_IDLE_MS);
	pm_runtime_use_autosuspend(dev);
	pm_runtime_mark_last_busy(dev);
	pm_runtime_put_autosuspend(dev);
	dev_info(dev, "/dev/%s: %u ring entries\n", accel->misc.name, accel->mask + 1);
	return 0;
}

/*
 * Stops the device and leaves it in @state, or in a later one if it is there already: a
 * device that failed does not recover by going to sleep.
 */
static void accel_sort_leave(struct accel_sort *accel, enum accel_sort_state state, int error)
{
	down_write(&accel->gate);
	accel_sort_halt(accel, error);
	accel->state = max(accel->state, state);
	up_write(&accel->gate);
}

/* A device that failed is as good as new. With the gate held for writing. */
static void accel_sort_recovered(struct accel_sort *accel)
{
	if (accel->state == ACCEL_SORT_FAILED)
		accel->state = ACCEL_SORT_STOPPED;
}

/*
 * Nobody can open the device any more; whoever waits in it is sent home. The interrupt
 * handlers find an empty ring and a closed state until devres frees them.
 */
static void accel_sort_remove(struct pci_dev *pdev)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	misc_deregister(&accel->misc);
	pm_runtime_get_noresume(&pdev->dev);
	pm_runtime_dont_use_autosuspend(&pdev->dev);
	accel_sort_leave(accel, ACCEL_SORT_GONE, -ENODEV);
}

/*
 * Programs run on while the machine goes down, as for a kexec: none of them may start the
 * device again, or its DMA would go on into the next kernel.
 */
static void accel_sort_shutdown(struct pci_dev *pdev)
{
	accel_sort_leave(pci_get_drvdata(pdev), ACCEL_SORT_GONE, -ENODEV);
}

/* Before the machine sleeps or the device. The next request starts the device again. */
static int accel_sort_suspend(struct device *dev)
{
	accel_sort_leave(dev_get_drvdata(dev), ACCEL_SORT_STOPPED, -ECANCELED);
	return 0;
}

static int accel_sort_resume(struct device *dev)
{
	/* The PCI core has restored what it had saved, which can be done once. */
	pci_save_state(to_pci_dev(dev));
	return 0;
}

static const struct dev_pm_ops accel_sort_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(accel_sort_suspend, accel_sort_resume)
	RUNTIME_PM_OPS(accel_sort_suspend, accel_sort_resume, NULL)
};

static pci_ers_result_t accel_sort_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	accel_sort_leave(accel, ACCEL_SORT_FAILED, -EIO);
	down_write(&accel->gate);
	accel->fatal = state != pci_channel_io_normal;
	up_write(&accel->gate);
	return state == pci_channel_io_perm_failure ? PCI_ERS_RESULT_DISCONNECT :
						      PCI_ERS_RESULT_NEED_RESET;
}

/* Waits until a device that was reset answers. Returns whether it does. */
static bool accel_sort_is_back(struct accel_sort *accel)
{
	u32 id;

	if (!read_poll_timeout(accel_sort_read, id, id == ACCEL_SORT_ID, 10 * USEC_PER_MSEC,
			       ACCEL_SORT_BACK_US, false, accel, ACCEL_SORT_REG_ID))
		return true;
	dev_err(&accel->pdev->dev, "register ID is %#x after %lu s, expected %#x\n", id,
		ACCEL_SORT_BACK_US / USEC_PER_SEC, ACCEL_SORT_ID);
	return false;
}

/*
 * The PCI core has reset the slot if the error was fatal. After any other the device may still wait
 * for what it will never get, and answer no read: each would be given up, and be the next error.
 */
static pci_ers_result_t accel_sort_slot_reset(struct pci_dev *pdev)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	if (!accel->fatal)
		pcie_reset_flr(pdev, PCI_RESET_DO_RESET);
	/* What was saved can be restored once: it is saved for the next time. */
	pci_restore_state(pdev);
	pci_save_state(pdev);
	/* Only a device that answers is back. */
	return accel_sort_is_back(accel) ? PCI_ERS_RESULT_RECOVERED : PCI_ERS_RESULT_DISCONNECT;
}

static void accel_sort_error_resume(struct pci_dev *pdev)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	down_write(&accel->gate);
	accel_sort_recovered(accel);
	up_write(&accel->gate);
}

/* Nobody touches the hardware between these two, which run in the same thread. */
static void accel_sort_reset_prepare(struct pci_dev *pdev)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	down_write(&accel->gate);
	accel_sort_halt(accel, -ECANCELED);
}

static void accel_sort_reset_done(struct pci_dev *pdev)
{
	struct accel_sort *accel = pci_get_drvdata(pdev);

	/* The PCI core has restored what it had saved, which can be done once. */
	pci_save_state(pdev);
	/* That may have helped a device for which the recovery from an error has not. */
	accel_sort_recovered(accel);
	up_write(&accel->gate);
}

static const struct pci_error_handlers accel_sort_error_handlers = {
	.error_detected = accel_sort_error_detected,
	.slot_reset = accel_sort_slot_reset,
	.resume = accel_sort_error_resume,
	.reset_prepare = accel_sort_reset_prepare,
	.reset_done = accel_sort_reset_done,
};

static const struct pci_device_id accel_sort_ids[] = {
	{ PCI_DEVICE_SUB(PCI_VENDOR_ID_XILINX, 0x7024, PCI_VENDOR_ID_XILINX, 0x0007) },
	{ }
};
MODULE_DEVICE_TABLE(pci, accel_sort_ids);

static struct pci_driver accel_sort_driver = {
	.name = KBUILD_MODNAME,
	.id_table = accel_sort_ids,
	.probe = accel_sort_probe,
	.remove = accel_sort_remove,
	.shutdown = accel_sort_shutdown,
	.err_handler = &accel_sort_error_handlers,
	.driver.pm = pm_ptr(&accel_sort_pm_ops),
};
module_pci_driver(accel_sort_driver);

MODULE_DESCRIPTION("Sort accelerator");
MODULE_LICENSE("GPL");
