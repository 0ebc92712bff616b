// SPDX-License-Identifier: Apache-2.0
-F ../../bridge.f
virtio_net_dma.sv
virtio_net_fifo.sv
virtio_net_virtq.sv
virtio_net_rx.sv
virtio_net_tx.sv
virtio_net_regs.sv
virtio_net_card.sv
virtio_net_top.sv
