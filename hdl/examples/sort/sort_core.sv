// SPDX-License-Identifier: Apache-2.0
//
// The sorter: its registers and its engine. What is in front of the register port and behind the
// AXI4 master, to which host memory answers, is the card's.

module sort_core #(
  parameter int unsigned DataWidth = 128,
  parameter int unsigned IdWidth   = 4
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  // Register port of accelerator_axi_regs.
  input  logic                   wr_valid_i,
  input  logic [11:0]            wr_addr_i,
  input  logic [31:0]            wr_data_i,
  input  logic [3:0]             wr_strb_i,
  input  logic                   rd_valid_i,
  input  logic [11:0]            rd_addr_i,
  output logic [31:0]            rd_data_o,

  // Host memory.
  output logic [IdWidth-1:0]     m_axi_awid,
  output logic [63:0]            m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [DataWidth-1:0]   m_axi_wdata,
  output logic [DataWidth/8-1:0] m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready,
  output logic [IdWidth-1:0]     m_axi_arid,
  output logic [63:0]            m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [DataWidth-1:0]   m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready,

  // One interrupt for each clock with valid and ready.
  output logic                   msix_valid_o,
  input  logic                   msix_ready_i,
  output logic [10:0]            msix_vector_o
);

  logic        enable, stop, stopped, busy, halted, error, block_done, irq_done;
  logic        read_issued, write_issued;
  logic [63:0] ring_base;
  logic [3:0]  ring_log2;
  logic [9:0]  tail, head;
  logic [1:0]  irq_enable;
  logic [7:0]  error_code;
  logic [12:0] issued_bytes;

  sort_regs u_regs (
    .clk_i, .rst_ni,
    .wr_valid_i, .wr_addr_i, .wr_data_i, .wr_strb_i, .rd_valid_i, .rd_addr_i, .rd_data_o,
    .enable_o(enable), .stop_o(stop), .stopped_i(stopped), .ring_base_o(ring_base),
    .ring_log2_o(ring_log2), .tail_o(tail), .head_i(head), .busy_i(busy),
    .irq_enable_o(irq_enable), .halted_o(halted), .error_i(error), .error_code_i(error_code),
    .block_done_i(block_done), .irq_done_i(irq_done), .read_issued_i(read_issued),
    .write_issued_i(write_issued), .issued_bytes_i(issued_bytes)
  );

  sort_engine #(
    .DataWidth(DataWidth), .IdWidth(IdWidth)
  ) u_engine (
    .clk_i, .rst_ni,
    .enable_i(enable), .stop_i(stop), .stopped_o(stopped), .ring_base_i(ring_base),
    .ring_log2_i(ring_log2), .tail_i(tail), .head_o(head), .busy_o(busy),
    .irq_enable_i(irq_enable), .halted_i(halted), .error_o(error), .error_code_o(error_code),
    .block_done_o(block_done), .irq_done_o(irq_done), .read_issued_o(read_issued),
    .write_issued_o(write_issued), .issued_bytes_o(issued_bytes),
    .m_axi_awid, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awvalid,
    .m_axi_awready, .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready,
    .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
    .m_axi_arid, .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arvalid,
    .m_axi_arready, .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready,
    .msix_valid_o, .msix_ready_i, .msix_vector_o
  );

endmodule
