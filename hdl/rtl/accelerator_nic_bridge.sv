// SPDX-License-Identifier: Apache-2.0
//
// The wire of a network card: Ethernet frames without their check sequence, from the first byte
// of the destination address on, between AXI4-Stream and the netdev of QEMU. It stands where
// the MAC stands on a card. hdl/README.md has the timing rules.
//
// Nothing is lost in it. A frame towards the host waits (s_axis_tready is low) until there is
// room for all of it; a frame from the host waits where it is until RTL takes it.
//
// One process, p_host, makes every DPI call.

module accelerator_nic_bridge
  import accelerator_dpi_pkg::*;
#(
  // Where QEMU connects, as with accelerator_pcie_bridge. "" is the place beside that of the
  // PCIe bridge: the next TCP port, or ipc://PATH.nic. The plusargs +accelerator_nic_endpoint=E
  // and +accelerator_nic_endpoint_NAME=E win over the parameter.
  parameter string       Endpoint  = "",
  // Tells the bridges of one simulation apart, in messages.
  parameter string       Name      = "nic0",
  // Bits of a beat, both ways: 8, 16, 32, 64, 128, 256 or 512.
  parameter int unsigned DataWidth = 64
) (
  input  logic                   aclk,
  // Ends what is under way: half a frame towards the host is dropped, the rest of one from the
  // host is. The connection to the host stays.
  input  logic                   aresetn,

  // A host is connected, and its netdev has a link.
  output logic                   link_up,
  // The address that the host gave this card, first byte on the wire in bits 47:40; 0 before
  // a host told it.
  output logic [47:0]            mac,
  // Whether the RTL has its own link up; the host shows it to its netdev.
  input  logic                   link_i,

  // Host to RTL.
  output logic [DataWidth-1:0]   m_axis_tdata,
  output logic [DataWidth/8-1:0] m_axis_tkeep,
  output logic                   m_axis_tlast,
  output logic                   m_axis_tvalid,
  input  logic                   m_axis_tready,

  // RTL to host. All bytes of a beat are kept but in the last one of a frame, where any number
  // from 1 on is, from lane 0 on.
  input  logic [DataWidth-1:0]   s_axis_tdata,
  input  logic [DataWidth/8-1:0] s_axis_tkeep,
  input  logic                   s_axis_tlast,
  input  logic                   s_axis_tvalid,
  output logic                   s_axis_tready
);

  if (DataWidth < 8 || DataWidth > 512 || (DataWidth & (DataWidth - 1)) != 0)
  begin : gen_bad_data_width
    $error("DataWidth is %0d; 8, 16, 32, 64, 128, 256 and 512 are possible", DataWidth);
  end

  localparam int unsigned BeatBytes = DataWidth / 8;

  // What aresetn leaves alone is known before the first clock, whatever a simulator begins with.
  /* verilator lint_off PROCASSINIT */
  chandle      handle      = null;
  logic        link_q      = 1'b0;
  logic [47:0] mac_q       = '0;
  // Bytes of the frame from the host that were not yet fetched.
  int          rx_left_q   = 0;
  // A frame towards the host is under way, and part of it is with the library.
  logic        tx_open_q   = 1'b0;
  // What the host was told of link_i; it takes the link for up until it is told.
  logic        link_told_q = 1'b1;
  /* verilator lint_on PROCASSINIT */

  assign link_up = link_q;
  assign mac     = mac_q;

  initial begin : p_open
    automatic string endpoint = Endpoint;

    if (acc_abi_version() != AbiVersion) begin
      $fatal(1, "%m: the DPI library has ABI version %0d, this bridge needs %0d",
             acc_abi_version(), AbiVersion);
    end
    if (Endpoint == "" && $value$plusargs("accelerator_endpoint=%s", endpoint)) begin
      endpoint = {"pcie:", endpoint};
    end
    void'($value$plusargs("accelerator_nic_endpoint=%s", endpoint));
    void'($value$plusargs({"accelerator_nic_endpoint_", Name, "=%s"}, endpoint));
    record_if_asked(Name);
    handle = acc_nic_open(endpoint, Name);
    if (handle == null) begin
      $fatal(1, "%m: %s: opening the endpoint '%s' failed: %s", Name, endpoint,
             acc_last_error(null));
    end
  end

  final begin : p_close
    if (handle != null) begin
      $display("%s: frames_from_host=%0d frames_to_host=%0d dropped_from_host=%0d dropped_to_host=%0d",
               Name, acc_nic_stat(handle, NicStatRxFrames), acc_nic_stat(handle, NicStatTxFrames),
               acc_nic_stat(handle, NicStatRxDropped),
               acc_nic_stat(handle, NicStatTxDropped) + acc_nic_stat(handle, NicStatTxTooLong));
      void'(acc_nic_close(handle));
    end
  end

  // Complaints so far.
  lines_t complaints_q;

  task automatic complain(input int status, input string what);
    if (may_tell(complaints_q)) begin
      $warning("%m: %s: %s failed (%0d): %s%s", Name, what, status, acc_last_error(null),
               last_words(complaints_q));
    end
    complaints_q <= count_line(complaints_q);
  endtask

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints_q.left_out);
  end

  always_ff @(posedge aclk) begin : p_host
    automatic int         status, ready, bytes, left;
    // Only 48 bits, and only the bytes of a beat, mean something.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic longint     address;
    automatic bit [511:0] beat;
    /* verilator lint_on UNUSEDSIGNAL */
    automatic bit         open;

    // Towards the host: before the poll, whose answer then knows of this frame's end.
    open = tx_open_q;
    if (!aresetn) begin
      if (open) begin
        status = acc_nic_tx_abort(handle);
        if (status < 0) complain(status, "acc_nic_tx_abort");
      end
      open = 1'b0;
    end else if (s_axis_tvalid && s_axis_tready) begin
      bytes = $countones(s_axis_tkeep);
      assert (bytes != 0 && (s_axis_tkeep & (s_axis_tkeep + 1'b1)) == '0 &&
              (s_axis_tlast || bytes == int'(BeatBytes)))
      else $error("%m: %s: s_axis_tkeep is %b with s_axis_tlast %0d: the bytes of a frame are packed from lane 0 on",
                  Name, s_axis_tkeep, s_axis_tlast);
      status = acc_nic_tx_beat(handle, bytes, 512'(s_axis_tdata), 32'(s_axis_tlast));
      if (status < 0) complain(status, "acc_nic_tx_beat");
      open = !s_axis_tlast;
    end
    tx_open_q <= open;

    ready = acc_nic_poll(handle);
    if (ready < 0) begin
      $fatal(1, "%m: %s: acc_nic_poll failed (%0d): %s", Name, ready, acc_last_error(null));
    end
    // Once begun, a frame has its room.
    s_axis_tready <= aresetn && (open || (ready & NicTx) != 0);
    link_q        <= (ready & NicLink) != 0;
    if ((ready & NicChanged) != 0) begin
      status = acc_nic_get_mac(handle, address);
      if (status < 0) complain(status, "acc_nic_get_mac");
      else mac_q <= address[47:0];
    end
    if (link_i != link_told_q) begin
      status = acc_nic_set_link(handle, 32'(link_i));
      if (status < 0) complain(status, "acc_nic_set_link");
      link_told_q <= link_i;
    end

    // From the host.
    left = rx_left_q;
    if (!aresetn) begin
      m_axis_tvalid <= 1'b0;
      while (left > 0) begin
        bytes = (left > 64) ? 64 : left;
        status = acc_nic_rx_beat(handle, bytes, beat);
        if (status < 0) complain(status, "acc_nic_rx_beat");
        left -= bytes;
      end
    end else if (!m_axis_tvalid || m_axis_tready) begin
      if (left == 0 && (ready & NicRx) != 0) begin
        left = acc_nic_rx_begin(handle);
        if (left < 0) begin
          complain(left, "acc_nic_rx_begin");
          left = 0;
        end
      end
      m_axis_tvalid <= left != 0;
      if (left != 0) begin
        bytes  = (left > int'(BeatBytes)) ? int'(BeatBytes) : left;
        status = acc_nic_rx_beat(handle, bytes, beat);
        if (status < 0) complain(status, "acc_nic_rx_beat");
        left -= bytes;
        m_axis_tdata <= beat[DataWidth-1:0];
        m_axis_tkeep <= '1 >> (int'(BeatBytes) - bytes);
        m_axis_tlast <= left == 0;
      end
    end
    rx_left_q <= left;
  end

  // What goes to the host of a beat.
  logic [DataWidth-1:0] tx_bytes;
  for (genvar i = 0; i < BeatBytes; i++) begin : gen_bytes
    assign tx_bytes[8*i +: 8] = s_axis_tdata[8*i +: 8] & {8{s_axis_tkeep[i]}};
  end

  accelerator_known_check #(
    .Width(BeatBytes + 1), .Name("s_axis_tkeep and s_axis_tlast")
  ) u_known_keep (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(s_axis_tvalid),
    .payload_i({s_axis_tkeep, s_axis_tlast})
  );
  accelerator_known_check #(
    .Width(DataWidth), .Name("s_axis_tdata"), .Fatal(1'b0)
  ) u_known_data (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(s_axis_tvalid), .payload_i(tx_bytes)
  );
  accelerator_known_check #(
    .Width(2), .Name("m_axis_tready and link_i")
  ) u_known_ready (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(1'b1), .payload_i({m_axis_tready, link_i})
  );
  accelerator_stable_check #(
    .Width(DataWidth), .Name("s_axis_tdata")
  ) u_check_data (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(s_axis_tvalid), .ready_i(s_axis_tready),
    .payload_i(s_axis_tdata)
  );
  accelerator_stable_check #(
    .Width(BeatBytes + 1), .Name("s_axis_tkeep and s_axis_tlast")
  ) u_check_keep (
    .clk_i(aclk), .rst_ni(aresetn), .valid_i(s_axis_tvalid), .ready_i(s_axis_tready),
    .payload_i({s_axis_tkeep, s_axis_tlast})
  );

endmodule
