// SPDX-License-Identifier: Apache-2.0
//
// Requests of the guest on m_axis_cq to a port of 32-bit registers, and completions on s_axis_cc: one
// at a time, of up to 4 Dwords. A longer read is completed with Unsupported Request, a longer write is
// dropped. For all widths of the UltraScale+ block, Dword-aligned, without straddle.

module pcie4_completer #(
  parameter int unsigned DataWidth   = 256,
  parameter int unsigned CqUserWidth = 88,
  parameter int unsigned CcUserWidth = 33,
  localparam int unsigned Lanes = DataWidth / 32
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic [DataWidth-1:0]   m_axis_cq_tdata,
  // The length is in the descriptor; of tuser only byte enables have a use.
  /* verilator lint_off UNUSEDSIGNAL */
  input  logic [Lanes-1:0]       m_axis_cq_tkeep,
  input  logic [CqUserWidth-1:0] m_axis_cq_tuser,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                   m_axis_cq_tlast,
  input  logic                   m_axis_cq_tvalid,
  output logic                   m_axis_cq_tready,

  output logic [DataWidth-1:0]   s_axis_cc_tdata,
  output logic [Lanes-1:0]       s_axis_cc_tkeep,
  output logic [CcUserWidth-1:0] s_axis_cc_tuser,
  output logic                   s_axis_cc_tlast,
  output logic                   s_axis_cc_tvalid,
  input  logic                   s_axis_cc_tready,

  output logic                   reg_wr_valid_o,
  output logic [11:0]            reg_wr_addr_o,
  output logic [31:0]            reg_wr_data_o,
  output logic [3:0]             reg_wr_strb_o,
  output logic                   reg_rd_valid_o,
  output logic [11:0]            reg_rd_addr_o,
  input  logic [31:0]            reg_rd_data_i
);

  // A descriptor and the most Dwords behind it; beats in which they come, and a completion goes.
  localparam int unsigned MostDwords = 4;
  localparam int unsigned CqDwords   = 4 + MostDwords;
  localparam int unsigned CcDwords   = 3 + MostDwords + 1;

  typedef enum logic [2:0] {Collect, Decide, Write, Read, Complete} state_e;

  state_e                   state_q;
  // Where the next beat goes: beyond the last it is dropped.
  logic [3:0]               lane_q;
  logic [CqDwords*32-1:0]   request_q;
  logic [3:0]               first_be_q, last_be_q;
  // Dwords that were written or read.
  logic [2:0]               done_q;
  logic [MostDwords*32-1:0] data_q;
  // The completion: what is left of it, and its Dwords.
  logic [CcDwords*32-1:0]   completion_q;
  logic [3:0]               left_q;

  // Fields of the descriptor.
  logic [11:0] address;
  logic [10:0] dwords;
  logic        is_read, is_write, fits;
  assign address  = {request_q[11:2], 2'b00};
  assign dwords   = request_q[74:64];
  assign is_read  = request_q[78:75] == 4'b0000;
  assign is_write = request_q[78:75] == 4'b0001;
  assign fits     = dwords <= 11'(MostDwords) && dwords != '0;

  // Byte enables of the Dword that is written or read.
  logic       last_dword;
  logic [3:0] enables;
  assign last_dword = 11'(done_q) + 11'd1 == dwords;
  assign enables    = (done_q == '0) ? first_be_q : last_dword ? last_be_q : 4'b1111;

  assign m_axis_cq_tready = rst_ni && state_q == Collect;
  assign reg_wr_valid_o   = state_q == Write;
  assign reg_wr_addr_o    = address + {7'd0, done_q, 2'b00};
  assign reg_wr_data_o    = request_q[32 * (4 + 32'(done_q[1:0])) +: 32];
  assign reg_wr_strb_o    = enables;
  assign reg_rd_valid_o   = state_q == Read && fits;
  assign reg_rd_addr_o    = address + {7'd0, done_q, 2'b00};

  assign s_axis_cc_tvalid = state_q == Complete;
  assign s_axis_cc_tdata  = DataWidth'(completion_q);
  assign s_axis_cc_tlast  = 32'(left_q) <= Lanes;

  // With 512 bits tuser says where the TLP begins and ends, also without straddle.
  if (DataWidth == 512) begin : gen_user
    assign s_axis_cc_tuser = CcUserWidth'({4'(left_q - 4'd1), 2'b01, 4'd0, 2'b01});
  end else begin : gen_user
    assign s_axis_cc_tuser = '0;
  end

  // What is left of a completion behind a beat.
  logic [CcDwords*32-1:0] completion_rest;
  if (DataWidth < CcDwords * 32) begin : gen_rest
    assign completion_rest = completion_q >> DataWidth;
  end else begin : gen_rest
    assign completion_rest = '0;
  end

  for (genvar i = 0; i < Lanes; i++) begin : gen_keep
    assign s_axis_cc_tkeep[i] = 32'(left_q) > i;
  end

  // Of a read: its first byte in its first Dword, and its bytes from the first to the last.
  function automatic logic [1:0] first_byte(logic [3:0] be);
    return be[0] ? 2'd0 : be[1] ? 2'd1 : be[2] ? 2'd2 : be[3] ? 2'd3 : 2'd0;
  endfunction
  function automatic logic [2:0] behind_last_byte(logic [3:1] be);
    return be[3] ? 3'd4 : be[2] ? 3'd3 : be[1] ? 3'd2 : 3'd1;
  endfunction

  logic [12:0] byte_count;
  assign byte_count = {dwords, 2'b00} - 13'd4 +
                      13'(behind_last_byte((dwords == 11'd1) ? first_be_q[3:1] : last_be_q[3:1])) -
                      13'(first_byte(first_be_q));

  function automatic logic [95:0] descriptor(logic [2:0] status, logic [10:0] count);
    return {1'b0, request_q[126:124], request_q[123:121], 1'b0, 16'd0, request_q[103:96],
            request_q[95:80], 2'b00, status, count,
            3'd0, byte_count, 9'd0, address[6:2], first_byte(first_be_q)};
  endfunction

  always_ff @(posedge clk_i) begin : p_completer
    automatic logic [MostDwords*32-1:0] data;
    if (!rst_ni) begin
      state_q <= Collect;
      lane_q  <= '0;
      done_q  <= '0;
      left_q  <= '0;
    end else begin
      case (state_q)
        Collect: if (m_axis_cq_tvalid) begin
          if (lane_q == '0) begin
            first_be_q <= m_axis_cq_tuser[3:0];
            last_be_q  <= (DataWidth == 512) ? m_axis_cq_tuser[11:8] : m_axis_cq_tuser[7:4];
          end
          for (int unsigned i = 0; i < Lanes; i++) begin
            if (32'(lane_q) + i < CqDwords) begin
              request_q[32 * (32'(lane_q) + i) +: 32] <= m_axis_cq_tdata[32*i +: 32];
            end
          end
          lane_q <= (32'(lane_q) + Lanes > CqDwords) ? 4'(CqDwords) : lane_q + 4'(Lanes);
          done_q <= '0;
          if (m_axis_cq_tlast) begin
            lane_q  <= '0;
            state_q <= Decide;
          end
        end

        Decide: state_q <= is_read ? Read : (is_write && fits) ? Write : Collect;

        Write: begin
          done_q <= done_q + 3'd1;
          if (last_dword) state_q <= Collect;
        end

        Read: begin
          data = data_q;
          data[32 * 32'(done_q[1:0]) +: 32] = reg_rd_data_i;
          data_q <= data;
          done_q <= done_q + 3'd1;
          if (last_dword || !fits) begin
            completion_q <= {32'd0, data, descriptor(fits ? 3'b000 : 3'b001, fits ? dwords : '0)};
            left_q       <= fits ? 4'd3 + 4'(dwords) : 4'd3;
            state_q      <= Complete;
          end
        end

        default: if (s_axis_cc_tready) begin
          completion_q <= completion_rest;
          left_q       <= left_q - 4'(Lanes);
          if (s_axis_cc_tlast) state_q <= Collect;
        end
      endcase
    end
  end

endmodule
