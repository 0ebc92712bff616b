/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef ACCELERATOR_DPI_H
#define ACCELERATOR_DPI_H

/*
 * Joins an HDL simulator to the accelerator-pcie device of QEMU.
 *
 * Generated from dpi-bridge/src/ffi.rs and ffi/; do not edit. C99 and C++11.
 *
 * The types are those of DPI-C: int and long long are SystemVerilog's int and
 * longint, void * is a chandle, const char * a string, and uint32_t * is
 * svBitVecVal *, the packed vectors. Prototypes that a simulator generates
 * from the imports of accelerator_dpi_pkg can stand beside this header.
 *
 * Order of the calls: acc_open, the acc_set_ calls, acc_start, then at every
 * clock acc_poll and what it asks for, acc_close. acc_last_error and acc_stat
 * at any time. NIC and UART channels are independent of bridges: acc_nic_open, then
 * acc_nic_poll at every clock, acc_nic_close; the same for acc_uart_.
 *
 * Errors: a call that returns int returns 0 or more, or a negated ACC_E value.
 *
 * Threads: each call may come from another thread; calls on one bridge exclude
 * each other. No call waits for the host, except acc_close for half a second.
 */

#include <stdint.h>

/**
 * Version of this interface, as `acc_abi_version` returns it.
 */
#define ACC_ABI_VERSION 1

/**
 * An argument is wrong, or the handle is not that of an open bridge.
 */
#define ACC_EINVAL 1

/**
 * Not now; the same call can succeed at a later clock.
 */
#define ACC_EAGAIN 2

/**
 * The link is down: no host is connected.
 */
#define ACC_ELINK 3

/**
 * The call may not come now.
 */
#define ACC_ESTATE 4

/**
 * The operating system or ZeroMQ refused something.
 */
#define ACC_EIO 5

/**
 * A defect of this library; the bridge can only be closed.
 */
#define ACC_EPANIC 6

/**
 * The function was configured without that ability.
 */
#define ACC_ENOTSUP 7

/**
 * Ready: the bridge can take an MMIO write, that is, every earlier write was
 * accepted on AW and W.
 */
#define ACC_READY_WRITE 1

/**
 * Ready: the bridge can take an MMIO read, that is, every earlier write has
 * its B response.
 */
#define ACC_READY_READ 2

/**
 * Ready: the bridge can take the completion of a DMA read.
 */
#define ACC_READY_DMA_READ 4

/**
 * Ready: the bridge can take the completion of a DMA write.
 */
#define ACC_READY_DMA_WRITE 8

/**
 * Ready: the bridge wants to hear what the guest sets in config space. To be set
 * from the first poll on; without it there is no ACC_EVENT_FUNCTION.
 */
#define ACC_READY_FUNCTION 16

/**
 * Event: nothing.
 */
#define ACC_EVENT_NONE 0

/**
 * Event: the guest reads a BAR; fetch it with `acc_get_mmio`.
 */
#define ACC_EVENT_MMIO_READ 1

/**
 * Event: the guest writes a BAR; fetch it with `acc_get_mmio`.
 */
#define ACC_EVENT_MMIO_WRITE 2

/**
 * Event: a DMA read is answered; fetch it with `acc_get_dma_read`.
 */
#define ACC_EVENT_DMA_READ_DONE 3

/**
 * Event: a DMA write is answered; fetch it with `acc_get_dma_write`.
 */
#define ACC_EVENT_DMA_WRITE_DONE 4

/**
 * Event: the function is reset; fetch it with `acc_get_reset`.
 */
#define ACC_EVENT_RESET 5

/**
 * Event: a host is there; fetch it with `acc_get_link`.
 */
#define ACC_EVENT_LINK_UP 6

/**
 * Event: the host is gone; fetch it with `acc_get_link`.
 */
#define ACC_EVENT_LINK_DOWN 7

/**
 * Event: the guest has set something in config space; fetch it with
 * `acc_get_function`.
 */
#define ACC_EVENT_FUNCTION 8

/**
 * Status: done.
 */
#define ACC_STATUS_OK 0

/**
 * Status: refused. Of MMIO: an AXI error response. Of DMA: the guest has not
 * enabled bus mastering, or the host does not allow the access.
 */
#define ACC_STATUS_REFUSED 1

/**
 * Status of DMA: no memory answers at that address.
 */
#define ACC_STATUS_FAULT 2

/**
 * Status of DMA: given up because of a reset.
 */
#define ACC_STATUS_ABORTED 3

/**
 * BAR flag: 64 bits wide; takes this BAR and the next one.
 */
#define ACC_BAR_64BIT 1

/**
 * BAR flag: reads have no side effects.
 */
#define ACC_BAR_PREFETCHABLE 2

/**
 * BAR flag: in I/O space. Refused, with what to take in its place.
 */
#define ACC_BAR_IO 4

/**
 * Reset: function level reset.
 */
#define ACC_RESET_FLR 1

/**
 * Reset: hot reset, of the link or the secondary bus.
 */
#define ACC_RESET_HOT 2

/**
 * Reset: power-on, or reset of the whole machine.
 */
#define ACC_RESET_COLD 3

/**
 * Counter: MMIO reads handed to the RTL.
 */
#define ACC_STAT_MMIO_READS 0

/**
 * Counter: MMIO writes handed to the RTL.
 */
#define ACC_STAT_MMIO_WRITES 1

/**
 * Counter: bytes that DMA reads brought from host memory.
 */
#define ACC_STAT_DMA_READ_BYTES 2

/**
 * Counter: bytes that DMA writes put into host memory, strobed ones only.
 */
#define ACC_STAT_DMA_WRITE_BYTES 3

/**
 * Counter: vectors raised, of MSI-X and MSI.
 */
#define ACC_STAT_MSIX 4

/**
 * Counter: times that the link came up.
 */
#define ACC_STAT_SESSIONS 5

/**
 * Counter: polls that received or handed out something.
 */
#define ACC_STAT_BUSY_POLLS 6

/**
 * Counter: number of the transaction that was fetched or begun last, an access, DMA request or
 * interrupt: as in the log and in the record. No two of a process have the same.
 */
#define ACC_STAT_TRANSACTION 7

/**
 * Bit of `acc_get_function`: Memory Space Enable, the BARs answer.
 */
#define ACC_FUNCTION_MEMORY_SPACE 1

/**
 * Bit of `acc_get_function`: Bus Master Enable, without which DMA is refused
 * and no vector is raised.
 */
#define ACC_FUNCTION_BUS_MASTER 2

/**
 * Bit of `acc_get_function`: Interrupt Disable, with which INTx does not reach
 * the guest.
 */
#define ACC_FUNCTION_INTX_DISABLE 4

/**
 * Bit of `acc_get_function`: MSI-X Enable, with which INTx does not reach the
 * guest.
 */
#define ACC_FUNCTION_MSIX_ENABLE 8

/**
 * Bit of `acc_get_function`: MSI-X Function Mask.
 */
#define ACC_FUNCTION_MSIX_MASK 16

/**
 * Bit of `acc_get_function`: Extended Tag Field Enable.
 */
#define ACC_FUNCTION_EXTENDED_TAG 32

/**
 * Bit of `acc_get_function`: Enable Relaxed Ordering.
 */
#define ACC_FUNCTION_RELAXED_ORDERING 64

/**
 * Bit of `acc_get_function`: Enable No Snoop.
 */
#define ACC_FUNCTION_NO_SNOOP 128

/**
 * Bit of `acc_get_function`: MSI Enable, with which INTx does not reach the guest.
 */
#define ACC_FUNCTION_MSI_ENABLE 256

/**
 * Bit of `acc_nic_poll`: a frame from the host waits.
 */
#define ACC_NIC_RX 1

/**
 * Bit of `acc_nic_poll`: there is room for a frame to the host.
 */
#define ACC_NIC_TX 2

/**
 * Bit of `acc_nic_poll`: a host is connected and its network's link is up.
 */
#define ACC_NIC_LINK 4

/**
 * Bit of `acc_nic_poll`: link or MAC address have changed since the last poll.
 */
#define ACC_NIC_CHANGED 8

/**
 * Counter: frames that the RTL has fetched.
 */
#define ACC_NIC_STAT_RX_FRAMES 0

/**
 * Counter: their bytes.
 */
#define ACC_NIC_STAT_RX_BYTES 1

/**
 * Counter: frames of the RTL that were sent to the host.
 */
#define ACC_NIC_STAT_TX_FRAMES 2

/**
 * Counter: their bytes, padding included.
 */
#define ACC_NIC_STAT_TX_BYTES 3

/**
 * Counter: frames of the RTL that were dropped, without a host or with one of
 * the links down.
 */
#define ACC_NIC_STAT_TX_DROPPED 4

/**
 * Counter: frames of the RTL that were dropped for having more than 9216
 * bytes.
 */
#define ACC_NIC_STAT_TX_TOO_LONG 5

/**
 * Counter: frames of the host that were dropped, with the RTL's link down or
 * since another session began before they were fetched.
 */
#define ACC_NIC_STAT_RX_DROPPED 6

/**
 * Counter: times that a host has opened the channel.
 */
#define ACC_NIC_STAT_SESSIONS 7

/**
 * Bit of `acc_uart_poll`: a byte from the host waits.
 */
#define ACC_UART_RX 1

/**
 * Bit of `acc_uart_poll`: there is room for a byte to the host.
 */
#define ACC_UART_TX 2

/**
 * Bit of `acc_uart_poll`: a host is connected.
 */
#define ACC_UART_HOST 4

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of this interface: `ACC_ABI_VERSION` of the header that the library
 * was built with. Another number than that of the header means that the two do
 * not fit.
 */
int acc_abi_version(void);

/**
 * Opens a bridge. First call; in SystemVerilog from an `initial` block.
 *
 * `endpoint`: where QEMU connects to. A port number on the loopback interface
 * ("7557"), "tcp://127.0.0.1:PORT", or "ipc:///PATH" for a Unix socket. Empty
 * or null: the port in the environment variable NPU_COSIM_PORT, or 7557. Beyond
 * loopback ("tcp://ADDRESS:PORT", ADDRESS 0.0.0.0 for all) only with keys, the
 * environment variables ACCELERATOR_CURVE_SECRET (file with our pair of keys)
 * and ACCELERATOR_CURVE_CLIENTS (public keys of those who may connect: a file, a
 * folder or one key), or with ACCELERATOR_INSECURE=1. "vfio-user:PATH": the
 * Unix socket of a vfio-user server, for a QEMU without our device
 * (`-device vfio-user-pci`); its channels are not there.
 * `name`: what the log calls the bridge; empty or null for "accelerator".
 *
 * A bridge of this process with the same endpoint that was polled is closed: it
 * belongs to a run of the simulation that ended without `acc_close`.
 *
 * Reads the environment variables ACCELERATOR_LOG_LEVEL (off, error, warn,
 * info, debug, trace; info if unset) and ACCELERATOR_ZMQ_WARN_MS (milliseconds
 * after which a wait is mentioned; 1000 if unset, 0 for never).
 *
 * Returns a handle, or null on failure; the reason is written to standard
 * error and returned by `acc_last_error(NULL)`. A handle is a number, not an
 * address. At most 64 bridges and channels can be open at once.
 *
 * # Safety
 *
 * `endpoint` and `name` are null or end with a zero byte.
 */
void *acc_open(const char *endpoint,
               const char *name);

/**
 * Closes a bridge: says goodbye to the host, closes the socket and removes the
 * file of an "ipc://" endpoint. Last call; in SystemVerilog from a `final`
 * block. Takes at most about half a second. The handle means nothing
 * afterwards, whatever is returned.
 *
 * Returns 0, or -ACC_EINVAL for an unknown handle.
 */
int acc_close(void *h);

/**
 * Text of the last error of a bridge or channel; it names the values that were found and
 * expected. With null or an unknown handle: of the last call on this thread
 * that had no bridge to keep it, `acc_open` included. Empty if there was none.
 *
 * The text is valid until the next `acc_last_error` on the same thread.
 */
const char *acc_last_error(void *h);

/**
 * Sets the identity of the PCIe function. Before `acc_start`.
 *
 * `vendor` 1 to 0xfffe, `device`, `subvendor`, `subdevice` 0 to 0xffff,
 * `class_code` 24 bits (base class, subclass, interface), `revision` 0 to 0xff.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_id(void *h,
               int vendor,
               int device,
               int subvendor,
               int subdevice,
               int class_code,
               int revision);

/**
 * Sets a base address register. Before `acc_start`.
 *
 * `bar` 0 to 5. `size` in bytes, a power of two from 16; 0 for an absent BAR.
 * `flags`: ACC_BAR_64BIT, ACC_BAR_PREFETCHABLE; ACC_BAR_IO is refused.
 * `axi_base`: AXI address that offset 0 of the BAR becomes, a multiple of
 * `size`; its 64 bits count, not its sign.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`. What BARs have to
 * be to each other is checked by `acc_start`.
 */
int acc_set_bar(void *h,
                int bar,
                long long size,
                int flags,
                long long axi_base);

/**
 * Sets the MSI-X capability. Before `acc_start`.
 *
 * `vectors` 1 to 2048, 0 for none. `table_bar`, `pba_bar`: BARs that hold the
 * vector table (16 bytes per vector) and the pending bits (8 bytes per 64
 * vectors), at `table_offset` and `pba_offset` bytes, multiples of 8. QEMU
 * answers accesses to both itself, unless `acc_set_msix_in_rtl` says otherwise.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_msix(void *h,
                 int vectors,
                 int table_bar,
                 int table_offset,
                 int pba_bar,
                 int pba_offset);

/**
 * Says where vector table and pending bits of MSI-X are. After `acc_set_msix`, which begins
 * with 0, and before `acc_start`.
 *
 * `in_rtl`: 0, they are QEMU's. 1, they are in the RTL, at the places of `acc_set_msix`: the
 * guest's accesses to them are accesses to a BAR like all others, and an interrupt is a DMA write
 * of the RTL, of 4 bytes, of the data and to the address that the guest has put into the table.
 * Masks, pending bits and the guest's Enable and Function Mask (`acc_get_function`) are for the
 * RTL to obey; `acc_msix` raises no vector of MSI-X then.
 *
 * A host that knows nothing of it (protocol below 1.6) is refused then, and `acc_start` fails for
 * an endpoint of vfio-user.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_msix_in_rtl(void *h,
                        int in_rtl);

/**
 * Sets the MSI capability, with 64-bit addresses. Before `acc_start`. A function
 * may have MSI-X and MSI; the guest enables one of them.
 *
 * `vectors` 1, 2, 4, 8, 16 or 32, 0 for none. `masking`: 1 if each vector can be
 * masked, and has a pending bit; both are QEMU's.
 *
 * A host that knows nothing of MSI (protocol below 1.3) is refused then.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_msi(void *h,
                int vectors,
                int masking);

/**
 * Adds a capability to config space, beside power management, PCI Express, MSI-X
 * and MSI, which QEMU provides. Before `acc_start`; up to 16 of them, in the
 * order of the calls.
 *
 * `id`: a PCI capability id, 9 for a vendor specific one; not 0x00, 0x01, 0x05,
 * 0x10, 0x11 or 0xff. `offset`: its place in config space, a multiple of 4 from
 * 0x40, or 0 for any; QEMU puts its own around those that have a place.
 * `bytes`: length of the body, 1 to 64. `body`: a `bit [511:0]`, 16 words,
 * what follows the id and the pointer to the next capability, its first byte
 * in the low 8 bits of the first word; the guest reads it and cannot write it.
 * In a vendor specific capability that first byte is its length, `bytes` + 2.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`. Ids, places and
 * overlaps are checked by `acc_start`.
 *
 * # Safety
 *
 * `body` is null or valid for reads of 16 words.
 */
int acc_add_capability(void *h,
                       int id,
                       int offset,
                       int bytes,
                       const uint32_t *body);

/**
 * Sets the link that the function reports. Before `acc_start`; generation 1
 * with one lane if it is not called.
 *
 * `speed`: PCIe generation, 1 (2.5 GT/s) to 6 (64 GT/s). `width`: lanes, 1, 2,
 * 4, 8, 12, 16 or 32.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_link(void *h, int speed, int width);

/**
 * Sets the INTx pin. Before `acc_start`.
 *
 * `pin`: 0 none, 1 to 4 for INTA to INTD.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_intx(void *h, int pin);

/**
 * Sets the period of the simulated clock, in picoseconds; 0 for unknown.
 * Before `acc_start`. For information only.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
 */
int acc_set_clock(void *h, int period_ps);

/**
 * Checks the configuration as a whole and listens at the endpoint: from here
 * on QEMU can connect. After the acc_set_ calls, once.
 *
 * Returns 0; -ACC_EINVAL for a configuration that breaks a rule, -ACC_EIO if
 * the endpoint cannot be used, and after these two it can be tried again;
 * -ACC_ESTATE if it was started already.
 */
int acc_start(void *h);

/**
 * Says whether sessions go through shared memory instead of the socket, which only
 * ends on one machine can (an ipc:// endpoint or loopback). Before `acc_start`.
 *
 * `mode`: 0 never; 1 if the host can, which is the default; 2 refuses a host that
 * cannot, and `acc_start` fails if the endpoint reaches beyond this machine. The
 * environment variable ACCELERATOR_SHARED_MEMORY (off, auto, on) decides instead of 1.
 *
 * Returns 0, -ACC_EINVAL or -ACC_ESTATE.
 */
int acc_set_shared_memory(void *h,
                          int mode);

/**
 * Has transactions of the bridge go wrong as a plan says, in a file of at most 65,536
 * bytes. docs/faults.md has what is in it. Before `acc_start`, which fails if the file
 * cannot be read or is no plan. QEMU can give another plan later. What a plan has for frames
 * and bytes is for the NIC and UART channels of the process.
 *
 * `file`: its name; empty for none. Without this call the environment variable
 * ACCELERATOR_FAULTS names it.
 *
 * Returns 0, -ACC_EINVAL or -ACC_ESTATE.
 *
 * # Safety
 *
 * `file` is null or ends with a zero byte.
 */
int acc_set_faults(void *h,
                   const char *file);

/**
 * Takes in what the host sent and says what comes next. To be called at every
 * clock; costs a few nanoseconds and makes no system call if nothing is there,
 * but lets others run for a while after the host was heard of where there are
 * too few processors for all.
 *
 * `ready`: which events can be taken, the sum of ACC_READY_ values. RESET,
 * LINK_UP and LINK_DOWN always can. Among the others the ordering rules of PCI
 * Express hold: writes in order; a read waits for all earlier writes; a write
 * may pass a waiting read or DMA completion; the completion of a DMA read waits
 * until all earlier writes were fetched and ACC_READY_WRITE is set again, and
 * may pass reads; the completion of a DMA write may pass everything.
 * FUNCTION takes its turn among the writes, and comes in a reset as well.
 *
 * Returns an ACC_EVENT_ value, which stays to be fetched until the next
 * `acc_poll`, or not at all, in which case a later one announces it again;
 * -ACC_ESTATE before `acc_start`, -ACC_EINVAL, -ACC_EIO.
 */
int acc_poll(void *h, int ready);

/**
 * Puts the simulator to sleep until `acc_poll` may have something to return.
 *
 * For RTL that has nothing to do: simulated time stands still meanwhile. The
 * call returns at once while another bridge of this process may have work,
 * which is until it was called for that one, too, and while the time of a guest
 * follows the simulated time.
 *
 * `microseconds`: how long at most, 0 to 1,000,000.
 *
 * Returns 1 if there may be something, 0 if not, or -ACC_EINVAL.
 */
int acc_wait(void *h, int microseconds);

/**
 * Fetches the MMIO request that `acc_poll` has announced.
 *
 * `tag`: for the answer. `bar`: 0 to 5. `addr`: the BAR's AXI base plus the
 * offset in the BAR, any alignment. `len`: 1 to 8 bytes. `data`: of a write,
 * the byte at `addr` in the low 8 bits; 0 for a read.
 *
 * A read is to be answered with `acc_mmio_read_done`, in any order; a write
 * with `acc_mmio_write_done`, in order.
 *
 * Returns 0, -ACC_ESTATE if no request was announced, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointers are null or valid for writes.
 */
int acc_get_mmio(void *h,
                 int *tag,
                 int *bar,
                 long long *addr,
                 int *len,
                 long long *data);

/**
 * Answers an MMIO read. On R of the last beat.
 *
 * `tag` of `acc_get_mmio`. `status`: ACC_STATUS_OK, or ACC_STATUS_REFUSED for
 * an AXI error, after which the guest sees all ones. `data`: the byte at the
 * requested address in the low 8 bits; bits beyond the length are ignored.
 *
 * Returns 0, also if a reset or the end of the link has made the read void and
 * was not fetched yet, or -ACC_EINVAL if there is no such read.
 */
int acc_mmio_read_done(void *h, int tag, int status, long long data);

/**
 * Reports an MMIO write as done. On B; in the order of the writes.
 *
 * `tag` of `acc_get_mmio`. `status`: ACC_STATUS_OK, or ACC_STATUS_REFUSED for
 * an AXI error.
 *
 * Returns 0, also if a reset or the end of the link has made the write void
 * and was not fetched yet, or -ACC_EINVAL if it is not the oldest write.
 */
int acc_mmio_write_done(void *h, int tag, int status);

/**
 * Asks for host memory.
 *
 * `addr`: bus address; its 64 bits count, not its sign. `bytes`: 1 to 4096.
 *
 * Returns a tag of 0 or more, which the completion carries; -ACC_EAGAIN while
 * 512 requests are outstanding, 64 with a host of before protocol 1.5, the host
 * does not take frames, or a reset waits to be fetched; -ACC_ELINK while the link is down; -ACC_ESTATE between
 * `acc_get_reset` and `acc_reset_done`; -ACC_EINVAL.
 */
int acc_dma_read(void *h,
                 long long addr,
                 int bytes);

/**
 * Fetches the completion of a DMA read that `acc_poll` has announced.
 *
 * `tag` of `acc_dma_read`. `status`: an ACC_STATUS_ value. `bytes`: as many as
 * were asked for, to be fetched with `acc_dma_read_beat`; 0 if the status is
 * not ACC_STATUS_OK, and the tag is free then.
 *
 * Returns 0, -ACC_ESTATE if no such completion was announced, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointers are null or valid for writes.
 */
int acc_get_dma_read(void *h, int *tag, int *status, int *bytes);

/**
 * Fetches the next bytes of a DMA read, as a beat of the data bus.
 *
 * `tag` of `acc_get_dma_read`. The next `bytes` bytes, 1 to 64, go to the byte
 * lanes from `lane`, 0 to 63; all other lanes become zero. `data`: a
 * `bit [511:0]`, 16 words, lane 0 in the low 8 bits of the first. With the last
 * byte the tag becomes free.
 *
 * Returns 0, -ACC_EINVAL if there is no such tag or fewer bytes are left, or
 * -ACC_ESTATE if the completion was not fetched yet.
 *
 * # Safety
 *
 * `data` is null or valid for writes of 16 words.
 */
int acc_dma_read_beat(void *h, int tag, int lane, int bytes, uint32_t *data);

/**
 * Begins a write to host memory.
 *
 * `addr`: bus address of the first byte that the first beat brings; its 64
 * bits count, not its sign.
 *
 * Returns 0, and room for the request is kept until `acc_dma_write_end`;
 * -ACC_EAGAIN, -ACC_ELINK and -ACC_ESTATE as for `acc_dma_read`; -ACC_ESTATE
 * also if another write was begun and not ended.
 */
int acc_dma_write_begin(void *h, long long addr);

/**
 * Appends a beat of the data bus to a write to host memory.
 *
 * The `bytes` byte lanes, 1 to 64, from `lane`, 0 to 63, are appended. `data`:
 * a `bit [511:0]`, 16 words, lane 0 in the low 8 bits of the first. `strb`: a
 * `bit [63:0]`, 2 words, one bit per lane; a lane without its bit is a hole,
 * whose byte in host memory stays as it is. At most 4096 bytes per request,
 * holes included.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE if no write was begun.
 *
 * # Safety
 *
 * `data` is null or valid for reads of 16 words, `strb` of 2.
 */
int acc_dma_write_beat(void *h,
                       int lane,
                       int bytes,
                       const uint32_t *data,
                       const uint32_t *strb);

/**
 * Ends a write to host memory: the request is on its way when the call
 * returns.
 *
 * Returns a tag of 0 or more, which the completion carries; -ACC_ELINK if the
 * link went down meanwhile; -ACC_ESTATE if no write was begun; -ACC_EINVAL.
 * The write is over in every case.
 */
int acc_dma_write_end(void *h);

/**
 * Fetches the completion of a DMA write that `acc_poll` has announced.
 *
 * `tag` of `acc_dma_write_end`, which is free now. `status`: an ACC_STATUS_
 * value.
 *
 * Returns 0, -ACC_ESTATE if no such completion was announced, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointers are null or valid for writes.
 */
int acc_get_dma_write(void *h, int *tag, int *status);

/**
 * Raises a vector: of MSI-X or MSI, whichever the guest has enabled. It stays behind every DMA write that was ended
 * before, so the driver finds the data that the interrupt announces.
 *
 * `vector`: 0 to the number of vectors - 1, of MSI-X or MSI as `acc_get_function`
 * has told which is enabled; of that which has more, if neither is or nobody has
 * asked. Of MSI a guest may grant fewer than the function has (`acc_get_msi`): the
 * vector is taken modulo that number.
 *
 * Returns 0; -ACC_EAGAIN while the host does not take frames or a reset waits
 * to be fetched; -ACC_ELINK while the link is down; -ACC_ESTATE between
 * `acc_get_reset` and `acc_reset_done`; -ACC_EINVAL; -ACC_ENOTSUP without
 * MSI-X and MSI, and while the guest has not enabled MSI in a function whose MSI-X is in the RTL
 * (`acc_set_msix_in_rtl`).
 */
int acc_msix(void *h,
             int vector);

/**
 * Drives the INTx pin. `level`: 1 asserted, 0 not.
 *
 * The level is remembered: while it cannot be told, without a link or in a
 * reset, it is told afterwards. A reset and the end of the link, once fetched,
 * set it to 0.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ENOTSUP without a pin.
 */
int acc_intx(void *h, int level);

/**
 * Fetches the reset that `acc_poll` has announced. All requests that were
 * outstanding, in either direction, and all their tags are void from here.
 *
 * `kind`: ACC_RESET_FLR, ACC_RESET_HOT or ACC_RESET_COLD; the strongest, if
 * there were several.
 *
 * Nothing but another reset, the end of the link or FUNCTION is announced until
 * `acc_reset_done`.
 *
 * Returns 0, -ACC_ESTATE if no reset was announced, or -ACC_EINVAL.
 *
 * # Safety
 *
 * `kind` is null or valid for writes.
 */
int acc_get_reset(void *h, int *kind);

/**
 * Reports that the RTL has left its reset.
 *
 * Returns 0, also if the link went down during the reset, or -ACC_ESTATE
 * without a reset.
 */
int acc_reset_done(void *h);

/**
 * Fetches the change of the link that `acc_poll` has announced.
 *
 * `up`: 1 if a host is there, 0 if it is gone. When it is gone all requests
 * that were outstanding, in either direction, and all their tags are void, as
 * after a reset; no `acc_reset_done` is needed.
 *
 * Returns 0, -ACC_ESTATE if no change was announced, or -ACC_EINVAL.
 *
 * # Safety
 *
 * `up` is null or valid for writes.
 */
int acc_get_link(void *h, int *up);

/**
 * A counter, an ACC_STAT_ value, since `acc_open`.
 *
 * Returns it, or -ACC_EINVAL.
 */
long long acc_stat(void *h, int which);

/**
 * Fetches what the guest has set in config space, when `acc_poll` has announced
 * it; otherwise what was fetched last, and after a reset or a change of the link
 * that was fetched the state that goes with it.
 *
 * `flags`: ACC_FUNCTION_ bits. `power`: 0 for D0, 3 for D3hot. `max_payload`,
 * `max_read_request`: bytes, 128 to 4096. `requester_id`: bus number in bits 15
 * to 8, device and function number below. `link_speed`, `link_width`: as for
 * `acc_set_link`, what the card and the port above it agreed on.
 *
 * With a host that cannot tell (protocol below 1.2) all is enabled while the
 * link is up. The host enforces what is not: RTL need not look at any of this.
 *
 * Returns 0, -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointers are null or valid for writes.
 */
int acc_get_function(void *h,
                     int *flags,
                     int *power,
                     int *max_payload,
                     int *max_read_request,
                     int *requester_id,
                     int *link_speed,
                     int *link_width);

/**
 * What the guest has set of MSI, in the state that `acc_get_function` has fetched
 * last.
 *
 * `vectors`: how many it has granted (Multiple Message Enable), 1, 2, 4, 8, 16 or
 * 32; RTL should raise no others, see `acc_msix`. `mask`: the mask bits, of vector
 * 0 lowest; a masked vector that is raised is pending until it is unmasked, which
 * QEMU sees to. 1 and 0 without MSI.
 *
 * Returns 0, -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointers are null or valid for writes.
 */
int acc_get_msi(void *h,
                int *vectors,
                int *mask);

/**
 * Where the guest has put a BAR, in the state that `acc_get_function` has fetched last.
 *
 * `bar`: 0 to 5. `address`: on the bus, 0 if it is not known.
 *
 * Returns 1 if it is known, 0 if not: the BAR is absent or not mapped, or the host cannot
 * tell (protocol below 1.5). -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
 *
 * # Safety
 *
 * The pointer is null or valid for writes.
 */
int acc_get_bar(void *h,
                int bar,
                long long *address);

/**
 * Opens a NIC channel and listens at its endpoint. First call; in
 * SystemVerilog from an `initial` block.
 *
 * `endpoint`: as for `acc_open`, but of the channel. "pcie:ENDPOINT": the one
 * beside the bridge at ENDPOINT, which is the next TCP port, or the path with
 * ".nic" behind it. Empty or null: the one beside the bridge whose endpoint is
 * empty. `name`: what the log calls the channel; empty or null for "nic".
 *
 * Returns a handle, or null on failure, as `acc_open` does.
 *
 * # Safety
 *
 * `endpoint` and `name` are null or end with a zero byte.
 */
void *acc_nic_open(const char *endpoint, const char *name);

/**
 * Closes a NIC channel, as `acc_close` does a bridge.
 *
 * Returns 0, or -ACC_EINVAL for a handle that is not one of a NIC channel.
 */
int acc_nic_close(void *h);

/**
 * Takes in what the host sent, sends what there is for it and says what can be
 * done. To be called at every clock; costs a few nanoseconds and makes no
 * system call if nothing happened.
 *
 * Returns a sum of ACC_NIC_RX, ACC_NIC_TX, ACC_NIC_LINK and ACC_NIC_CHANGED,
 * -ACC_EINVAL, or -ACC_EIO. Without a host and with a link down there is always
 * room: the frames are dropped and counted, as by a MAC without a link.
 */
int acc_nic_poll(void *h);

/**
 * The MAC address that the host has given to the card: `mac=` of the device in
 * QEMU.
 *
 * `mac`: 48 bits, the byte that is first on the wire in bits 47 to 40; 0 before
 * a host told it. It stays when the host is gone.
 *
 * Returns 0, or -ACC_EINVAL.
 *
 * # Safety
 *
 * `mac` is null or valid for writes.
 */
int acc_nic_get_mac(void *h, long long *mac);

/**
 * Sets the RTL's own link. `up`: 1 or 0; 1 at first. While it is 0 the host is
 * told that the link is down, and frames are dropped both ways.
 *
 * Returns 0, or -ACC_EINVAL.
 */
int acc_nic_set_link(void *h, int up);

/**
 * Takes the next frame of the host, to be fetched with `acc_nic_rx_beat`. What
 * was not fetched of the frame before is dropped.
 *
 * Returns its bytes, 60 to 9216, without a frame check sequence; 0 if no frame
 * waits; -ACC_EINVAL.
 */
int acc_nic_rx_begin(void *h);

/**
 * Fetches the next bytes of the frame that `acc_nic_rx_begin` has taken.
 *
 * `bytes`: 1 to 64. `data`: a `bit [511:0]`, 16 words; the first byte goes to
 * the low 8 bits of the first, and what is beyond `bytes` becomes zero.
 *
 * Returns how many bytes of the frame are left then, or -ACC_EINVAL if there
 * were not so many.
 *
 * # Safety
 *
 * `data` is null or valid for writes of 16 words.
 */
int acc_nic_rx_beat(void *h, int bytes, uint32_t *data);

/**
 * Appends bytes to a frame for the host; the first call after the end of a
 * frame begins one. A frame has no frame check sequence. One of fewer than 60
 * bytes is padded with zeros, one of more than 9216 is dropped, counted and
 * logged.
 *
 * `bytes`: 1 to 64. `data`: a `bit [511:0]`, 16 words, the first byte in the
 * low 8 bits of the first. `last`: 1 ends the frame, which the next
 * `acc_nic_poll` sends.
 *
 * Returns 0; -ACC_EAGAIN if a frame begins while `acc_nic_poll` does not say
 * ACC_NIC_TX; -ACC_EINVAL.
 *
 * # Safety
 *
 * `data` is null or valid for reads of 16 words.
 */
int acc_nic_tx_beat(void *h, int bytes, const uint32_t *data, int last);

/**
 * Drops the frame that was begun with `acc_nic_tx_beat`, if there is one; for
 * a reset.
 *
 * Returns 0, or -ACC_EINVAL.
 */
int acc_nic_tx_abort(void *h);

/**
 * A counter, an ACC_NIC_STAT_ value, since `acc_nic_open`.
 *
 * Returns it, or -ACC_EINVAL.
 */
long long acc_nic_stat(void *h, int which);

/**
 * Has bridges that are started and channels that are opened from now on write down
 * every transaction, in one file for the process. Before `acc_start`,
 * `acc_nic_open` and `acc_uart_open`; again for each of them does no harm.
 * record/FORMAT.md is what is in the file, `accelerator-trace` reads it.
 *
 * `file`: its name. A record that is there is overwritten, anything else is not.
 * `bytes`: 0 for a file that grows, up to 1 GiB; 131,072 or more for a ring of that
 * size, in which the oldest is written over. `contents`: 1 to keep the bytes of DMA
 * and frames as well, 0 for the first 8 of each.
 *
 * Without this call the environment variables ACCELERATOR_RECORD (file),
 * ACCELERATOR_RECORD_SIZE (bytes) and ACCELERATOR_RECORD_DATA (0 or 1) say it. The
 * file is made by the first bridge or channel, whose call fails if that is not
 * possible.
 *
 * Returns 0, -ACC_EINVAL, or -ACC_ESTATE while another record is written.
 *
 * # Safety
 *
 * `file` is null or ends with a zero byte.
 */
int acc_record(const char *file,
               long long bytes,
               int contents);

/**
 * Opens a UART channel and listens at its endpoint. First call; in
 * SystemVerilog from an `initial` block.
 *
 * `endpoint`: as for `acc_open`, but of the channel. "pcie:ENDPOINT": the one
 * beside the bridge at ENDPOINT, which is the TCP port after the next, or the
 * path with ".uart" behind it. Empty or null: the one beside the bridge whose
 * endpoint is empty. `name`: what the log calls the channel; empty or null for
 * "uart".
 *
 * Returns a handle, or null on failure, as `acc_open` does.
 *
 * # Safety
 *
 * `endpoint` and `name` are null or end with a zero byte.
 */
void *acc_uart_open(const char *endpoint, const char *name);

/**
 * Closes a UART channel, as `acc_close` does a bridge.
 *
 * Returns 0, or -ACC_EINVAL for a handle that is not one of a UART channel.
 */
int acc_uart_close(void *h);

/**
 * Takes in what the host sent, sends what there is for it and says what can be
 * done. To be called at every clock; costs a few nanoseconds and makes no
 * system call if nothing happened.
 *
 * Returns a sum of ACC_UART_RX, ACC_UART_TX and ACC_UART_HOST, -ACC_EINVAL, or
 * -ACC_EIO. Without a host there is always room: the first 4096 bytes are kept
 * for it, and those after them dropped.
 */
int acc_uart_poll(void *h);

/**
 * Takes the next byte of the host.
 *
 * Returns it, 0 to 255, or -1 if none waits or the handle is not that of a UART
 * channel.
 */
int acc_uart_get(void *h);

/**
 * Gives a byte to the host; the next `acc_uart_poll` sends it.
 *
 * `value`: 0 to 255. Returns 1 if it was taken, 0 if there is no room,
 * -ACC_EINVAL.
 */
int acc_uart_put(void *h, int value);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ACCELERATOR_DPI_H */
