// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A driver of the card of hdl/examples/sort whose probe takes its time, and fails then if
 * that is asked for.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>

#define SLOW_PROBE_MS 700

static bool fail;
module_param(fail, bool, 0444);
MODULE_PARM_DESC(fail, "the probe fails");

static int slow_probe_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret;

	msleep(SLOW_PROBE_MS);
	if (fail)
		return -EIO;
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	pci_info(pdev, "probed\n");
	return 0;
}

static const struct pci_device_id slow_probe_ids[] = {
	{ PCI_DEVICE(0x10ee, 0x7024) },
	{ }
};
MODULE_DEVICE_TABLE(pci, slow_probe_ids);

static struct pci_driver slow_probe_driver = {
	.name = "slow_probe",
	.id_table = slow_probe_ids,
	.probe = slow_probe_probe,
};
module_pci_driver(slow_probe_driver);

MODULE_DESCRIPTION("Probe that takes long");
MODULE_LICENSE("GPL");
