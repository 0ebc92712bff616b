# SPDX-License-Identifier: Apache-2.0
#
# What is packaged, and how its parameters look in Vivado's customisation page. Read by
# package_ip.tcl. A parameter that is not here is shown in a group "Further", with the comment of
# the source as its tooltip.
#
# ip_table: module, list of its files, name shown, description
# ip_groups: module, and pairs of a group and its parameters. A parameter is a list: name, name
#   shown, tooltip, and what it may be: "range MIN MAX", "list VALUE...", or nothing
# ip_addresses: module, and pairs of an AXI interface and the bytes of its addresses

set ip_table {
  accelerator_pcie_bridge bridge.f {Co-simulation PCIe bridge}
    {A PCIe endpoint whose host is a guest in QEMU: AXI4 master for BAR accesses, AXI4 slave for host memory, MSI-X, MSI. For simulation.}
  accelerator_nic_bridge bridge.f {Co-simulation network bridge}
    {Ethernet frames to and from a netdev of QEMU on AXI4-Stream. For simulation.}
  accelerator_uart_bridge bridge.f {Co-simulation UART}
    {AXI UART Lite's registers in front of a character device of QEMU. For simulation.}
}

# Bytes that an AXI interface of each module reaches or answers.
set ip_addresses {
  accelerator_pcie_bridge {m_axi 18446744073709551616 s_axi 18446744073709551616}
  accelerator_nic_bridge {}
  accelerator_uart_bridge {s_axi 4096}
}

set bar_sizes {0x0000000000000000}
for {set i 4} {$i <= 40} {incr i} { lappend bar_sizes [format 0x%016X [expr {1 << $i}]] }

set connection {
  {Endpoint {Endpoint} {Where QEMU connects: a port on loopback, tcp://127.0.0.1:7557 or ipc://path; empty is $NPU_COSIM_PORT, or 7557. Plusargs win over it.}}
  {Name {Name} {Tells the bridges of one simulation apart, in messages and plusargs.}}
}

set bars {}
for {set i 0} {$i < 6} {incr i} {
  lappend bars [concat [list Bar${i}Size "BAR $i size" \
    "Bytes of BAR $i, a power of two; 0 for none. A 64-bit BAR takes the next one's place." list] \
    $bar_sizes]
  lappend bars [list Bar${i}AxiBase "BAR $i AXI address" \
    "Address on m_axi of the first byte of BAR $i, a multiple of its size."]
}
lappend bars {BarIs64 {64-bit BARs} {One bit for each BAR, BAR 0 in bit 0.}}
lappend bars {BarPrefetch {Prefetchable BARs} {One bit for each BAR, BAR 0 in bit 0.}}

set ip_groups [list \
  accelerator_pcie_bridge [list \
    Connection $connection \
    Identity {
      {VendorId {Vendor ID} {As the guest finds it in PCI config space.}}
      {DeviceId {Device ID} {As the guest finds it in PCI config space.}}
      {SubVendorId {Subsystem vendor ID} {As the guest finds it in PCI config space.}}
      {SubDeviceId {Subsystem ID} {As the guest finds it in PCI config space.}}
      {ClassCode {Class code} {Base class, subclass, programming interface.}}
      {RevisionId {Revision ID} {As the guest finds it in PCI config space.}}
    } \
    BARs $bars \
    Interrupts {
      {MsixVectors {MSI-X vectors} {0 is no MSI-X.} range 0 2048}
      {MsixTableBar {MSI-X table BAR} {BAR that holds the vector table. Accesses to it reach m_axi if it is in RTL.} range 0 5}
      {MsixTableOffset {MSI-X table offset} {Bytes from the start of that BAR, a multiple of 8.} range 0 2147483640}
      {MsixPbaBar {MSI-X pending bits BAR} {BAR that holds the pending bits.} range 0 5}
      {MsixPbaOffset {MSI-X pending bits offset} {Bytes from the start of that BAR, a multiple of 8.} range 0 2147483640}
      {MsixInRtl {MSI-X table in RTL} {1: table and pending bits are in the RTL, which writes its interrupts itself.} range 0 1}
      {MsiVectors {MSI vectors} {0 is no MSI. The msix_ ports serve MSI-X and MSI, whichever the guest enables.} list 0 1 2 4 8 16 32}
      {MsiMasking {MSI masking} {1: each vector of MSI can be masked, and has a pending bit.} range 0 1}
      {IntxPin {Legacy interrupt pin} {0 none, 1 to 4 for INTA to INTD.} range 0 4}
    } \
    Link {
      {LinkSpeed {Link speed} {PCIe generation that the guest is shown.} range 1 6}
      {LinkWidth {Link width} {Lanes that the guest is shown.} list 1 2 4 8 12 16 32}
      {ClockPeriodPs {Clock period} {Picoseconds of one period of aclk; told to the host.} range 1 1000000000}
      {ResetClocks {Reset clocks} {Clocks that user_resetn stays low.} range 1 65535}
    } \
    {Further capabilities} {
      {CapCount {Capabilities} {Capabilities in config space beyond those that every card has.} range 0 8}
      {CapId {Capability IDs} {One byte for each, the first in the lowest; 09 is vendor-specific.}}
      {CapOffset {Places} {One byte for each: the place in config space; 0 lets the host choose.}}
      {CapBytes {Lengths} {One byte for each: bytes of the body, 1 to 64.}}
      {CapBody {Bodies} {64 bytes for each, the first byte of the first in the lowest; what follows the ID and the next pointer.}}
    } \
    {BAR accesses (m_axi)} {
      {MmioAddrWidth {Address width} {Bits of the addresses on m_axi.} range 12 64}
      {MmioDataWidth {Data width} {Bits of the data on m_axi.} list 32 64 128 256 512}
      {MmioIdWidth {ID width} {Bits of the IDs on m_axi; all requests have ID 0.} range 1 32}
      {MmioWrites {Writes outstanding} {Guest writes that may wait for their response.} range 1 64}
      {MmioReads {Reads outstanding} {Guest reads that may wait for their data.} range 1 64}
    } \
    {Host memory (s_axi)} {
      {DmaAddrWidth {Address width} {Bits of the addresses on s_axi.} range 12 64}
      {DmaDataWidth {Data width} {Bits of the data on s_axi.} list 32 64 128 256 512}
      {DmaIdWidth {ID width} {Bits of the IDs on s_axi.} range 1 32}
      {DmaWrites {Writes outstanding} {DMA writes that may be under way; 64 together with the reads.} range 2 62}
      {DmaReads {Reads outstanding} {DMA reads that may be under way; 64 together with the writes.} range 2 62}
      {BoardRules {Board rules} {1 warns, once of each kind, of what works in the simulation and not behind the AXI bridge of a board's PCIe block (PG194).} range 0 1}
    } \
  ] \
  accelerator_nic_bridge [list \
    Connection $connection \
    Stream {
      {DataWidth {Data width} {Bits of the streams.} list 8 16 32 64 128 256 512}
    } \
  ] \
  accelerator_uart_bridge [list Connection $connection] \
]
