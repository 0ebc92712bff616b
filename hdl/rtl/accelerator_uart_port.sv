// SPDX-License-Identifier: Apache-2.0
//
// A serial line as plain byte ports, for RTL that has no bus: bytes between the RTL and the
// chardev of QEMU, at most one a clock each way. A line has no baud rate here; who wants one
// holds its valid and ready back. accelerator_uart_bridge puts registers in front of it.
//
// Nothing is lost in it: a byte to the host waits until there is room, one from the host until
// RTL takes it.

module accelerator_uart_port
  import accelerator_dpi_pkg::*;
#(
  // Where QEMU connects, as with accelerator_pcie_bridge. "" is the place beside that of the
  // PCIe bridge: the TCP port after the next, or ipc://PATH.uart. The plusargs
  // +accelerator_uart_endpoint=E and +accelerator_uart_endpoint_NAME=E win over the parameter.
  parameter string Endpoint = "",
  // Tells the bridges of one simulation apart, in messages.
  parameter string Name     = "uart0"
) (
  input  logic       aclk,
  // Drops the byte that waits for rx_ready. The connection to the host stays.
  input  logic       aresetn,

  // A host is connected.
  output logic       connected,

  // Host to RTL.
  output logic [7:0] rx_data,
  output logic       rx_valid,
  input  logic       rx_ready,

  // RTL to host.
  input  logic [7:0] tx_data,
  input  logic       tx_valid,
  output logic       tx_ready
);

  // What aresetn leaves alone is known before the first clock, whatever a simulator begins with.
  /* verilator lint_off PROCASSINIT */
  chandle handle      = null;
  logic   connected_q = 1'b0;
  longint rx_bytes_q  = 0;
  longint tx_bytes_q  = 0;
  /* verilator lint_on PROCASSINIT */

  assign connected = connected_q;

  initial begin : p_open
    automatic string endpoint = Endpoint;

    if (acc_abi_version() != AbiVersion) begin
      $fatal(1, "%m: the DPI library has ABI version %0d, this bridge needs %0d",
             acc_abi_version(), AbiVersion);
    end
    if (Endpoint == "" && $value$plusargs("accelerator_endpoint=%s", endpoint)) begin
      endpoint = {"pcie:", endpoint};
    end
    void'($value$plusargs("accelerator_uart_endpoint=%s", endpoint));
    void'($value$plusargs({"accelerator_uart_endpoint_", Name, "=%s"}, endpoint));
    record_if_asked(Name);
    handle = acc_uart_open(endpoint, Name);
    if (handle == null) begin
      $fatal(1, "%m: %s: opening the endpoint '%s' failed: %s", Name, endpoint,
             acc_last_error(null));
    end
  end

  final begin : p_close
    if (handle != null) begin
      $display("%s: bytes_from_host=%0d bytes_to_host=%0d", Name, rx_bytes_q, tx_bytes_q);
      void'(acc_uart_close(handle));
    end
  end

  always_ff @(posedge aclk) begin : p_host
    automatic int status, ready;

    // Towards the host: before the poll, whose answer then knows of this byte.
    if (aresetn && tx_valid && tx_ready) begin
      status = acc_uart_put(handle, 32'(tx_data));
      assert (status == 1)
      else $error("%m: %s: acc_uart_put returned %0d: %s", Name, status, acc_last_error(null));
      tx_bytes_q <= tx_bytes_q + 1;
    end

    ready = acc_uart_poll(handle);
    if (ready < 0) begin
      $fatal(1, "%m: %s: acc_uart_poll failed (%0d): %s", Name, ready, acc_last_error(null));
    end
    connected_q <= (ready & UartHost) != 0;
    tx_ready    <= aresetn && (ready & UartTx) != 0;

    if (!aresetn) begin
      rx_valid <= 1'b0;
    end else if (!rx_valid || rx_ready) begin
      rx_valid <= 1'b0;
      if ((ready & UartRx) != 0) begin
        status = acc_uart_get(handle);
        if (status >= 0) begin
          rx_valid   <= 1'b1;
          rx_data    <= status[7:0];
          rx_bytes_q <= rx_bytes_q + 1;
        end
      end
    end
  end

  accelerator_known_check #(
    .Width(8), .Name("tx_data")
  ) u_known_tx (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(tx_valid), .payload_i(tx_data)
  );
  accelerator_known_check #(
    .Width(1), .Name("rx_ready")
  ) u_known_ready (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(1'b1), .payload_i(rx_ready)
  );
  accelerator_stable_check #(
    .Width(8), .Name("tx_data")
  ) u_check_tx (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(tx_valid), .ready_i(tx_ready), .payload_i(tx_data)
  );

endmodule
