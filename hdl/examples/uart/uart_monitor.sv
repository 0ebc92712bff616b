// SPDX-License-Identifier: Apache-2.0
//
// A monitor on a serial line, without a processor: prints a banner and a prompt, takes lines,
// and carries out
//
//   help            echo TEXT            read N            write N VALUE
//
// where N is the number of a register, one hexadecimal digit, and VALUE has one to eight of
// them. What is typed is echoed; Enter is CR or LF, Backspace is BS or DEL.

module uart_monitor (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Somebody is there; the banner comes anew when that begins.
  input  logic        connected_i,

  input  logic [7:0]  rx_data_i,
  input  logic        rx_valid_i,
  output logic        rx_ready_o,
  output logic [7:0]  tx_data_o,
  output logic        tx_valid_o,
  input  logic        tx_ready_i,

  output logic [3:0]  index_o,
  input  logic [31:0] value_i,
  output logic        write_o,
  output logic [31:0] data_o,
  input  logic        written_i
);

  localparam int unsigned LineBytes = 64;

  // What can be printed, each with its length. A string is a vector with its first character on
  // top. \015 is CR.
  typedef enum logic [2:0] {Banner, Prompt, NewLine, Help, What, Erase} text_e;

  localparam int unsigned BannerBytes = 62, PromptBytes = 2, NewLineBytes = 2, HelpBytes = 77,
                          WhatBytes = 16, EraseBytes = 3;
  localparam bit [8*BannerBytes-1:0]  BannerText =
    "\015\naccelerator-pcie serial monitor in RTL; type help for help\015\n";
  localparam bit [8*PromptBytes-1:0]  PromptText = "> ";
  localparam bit [8*NewLineBytes-1:0] NewLineText = "\015\n";
  localparam bit [8*HelpBytes-1:0]    HelpText =
    "help | echo TEXT | read N | write N VALUE   (N: 0 to f, VALUE: hexadecimal)\015\n";
  localparam bit [8*WhatBytes-1:0]    WhatText = "what? try help\015\n";
  localparam bit [8*EraseBytes-1:0]   EraseText = "\010 \010";

  function automatic int unsigned text_bytes(text_e text);
    case (text)
      Banner:  return BannerBytes;
      Prompt:  return PromptBytes;
      NewLine: return NewLineBytes;
      Help:    return HelpBytes;
      What:    return WhatBytes;
      default: return EraseBytes;
    endcase
  endfunction

  function automatic logic [7:0] text_byte(text_e text, logic [6:0] at);
    case (text)
      Banner:  return BannerText[8*(BannerBytes - 1 - 32'(at)) +: 8];
      Prompt:  return PromptText[8*(PromptBytes - 1 - 32'(at)) +: 8];
      NewLine: return NewLineText[8*(NewLineBytes - 1 - 32'(at)) +: 8];
      Help:    return HelpText[8*(HelpBytes - 1 - 32'(at)) +: 8];
      What:    return WhatText[8*(WhatBytes - 1 - 32'(at)) +: 8];
      default: return EraseText[8*(EraseBytes - 1 - 32'(at)) +: 8];
    endcase
  endfunction

  function automatic logic is_hex(logic [7:0] c);
    return (c >= "0" && c <= "9") || (c >= "a" && c <= "f") || (c >= "A" && c <= "F");
  endfunction

  function automatic logic [3:0] hex_value(logic [7:0] c);
    return (c <= "9") ? c[3:0] : c[3:0] + 4'd9;
  endfunction

  function automatic logic [7:0] hex_digit(logic [3:0] v);
    return (v < 4'd10) ? 8'h30 + 8'(v) : 8'h57 + 8'(v);
  endfunction

  typedef enum logic [3:0] {
    Start, Text, Line, Typed, Command, Index, Value, Read, Write, Hex, Echo
  } state_e;

  state_e                state_q;
  text_e                 text_q;
  logic                  connected_q;
  logic [7:0]            line_q [LineBytes];
  logic [6:0]            length_q, at_q;
  logic [7:0]            typed_q;
  logic [3:0]            digits_q, index_q;
  logic [31:0]           value_q;
  logic                  write_q;

  // The first words of the line, to compare.
  logic [31:0] word4;
  assign word4 = {line_q[0], line_q[1], line_q[2], line_q[3]};

  logic [7:0] here;
  assign here = line_q[at_q[5:0]];

  assign index_o    = index_q;
  assign data_o     = value_q;
  assign write_o    = state_q == Write;
  assign rx_ready_o = state_q == Line;

  always_comb begin
    tx_valid_o = 1'b1;
    case (state_q)
      Text:    tx_data_o = text_byte(text_q, at_q);
      Typed:   tx_data_o = typed_q;
      Hex:     tx_data_o = hex_digit(value_q[31:28]);
      Echo:    tx_data_o = here;
      default: begin
        tx_data_o  = '0;
        tx_valid_o = 1'b0;
      end
    endcase
  end

  always_ff @(posedge clk_i) begin : p_monitor
    automatic logic sent;

    sent        = tx_valid_o && tx_ready_i;
    connected_q <= connected_i;
    case (state_q)
      Start: begin
        text_q   <= Banner;
        at_q     <= '0;
        length_q <= '0;
        state_q  <= Text;
      end

      Text: if (sent) begin
        at_q <= at_q + 7'd1;
        if (32'(at_q) + 1 == text_bytes(text_q)) begin
          at_q <= '0;
          if (text_q == Prompt || text_q == Erase) state_q <= Line;
          else if (text_q == NewLine && length_q != '0) state_q <= Command;
          else text_q <= Prompt;
          if (text_q != NewLine && text_q != Erase) length_q <= '0;
        end
      end

      Line: if (rx_valid_i) begin
        typed_q <= rx_data_i;
        at_q    <= '0;
        if (rx_data_i == 8'h0D || rx_data_i == 8'h0A) begin
          text_q  <= NewLine;
          state_q <= Text;
        end else if (rx_data_i == 8'h08 || rx_data_i == 8'h7F) begin
          if (length_q != '0) begin
            length_q <= length_q - 7'd1;
            text_q   <= Erase;
            state_q  <= Text;
          end
        end else if (rx_data_i >= 8'h20 && 32'(length_q) < LineBytes) begin
          line_q[length_q[5:0]] <= rx_data_i;
          length_q <= length_q + 7'd1;
          state_q  <= Typed;
        end
      end

      Typed: if (sent) state_q <= Line;

      Command: begin
        digits_q <= '0;
        value_q  <= '0;
        write_q  <= 1'b0;
        text_q   <= What;
        at_q     <= '0;
        state_q  <= Text;
        if (word4 == "help" && length_q == 7'd4) begin
          text_q <= Help;
        end else if (word4 == "echo" && length_q > 7'd5 && line_q[4] == " ") begin
          at_q    <= 7'd5;
          state_q <= Echo;
        end else if (word4 == "read" && length_q == 7'd6 && line_q[4] == " ") begin
          at_q    <= 7'd5;
          state_q <= Index;
        end else if (word4 == "writ" && length_q > 7'd8 && line_q[4] == "e" &&
                     line_q[5] == " " && line_q[7] == " ") begin
          write_q <= 1'b1;
          at_q    <= 7'd6;
          state_q <= Index;
        end
      end

      Index: begin
        index_q <= hex_value(here);
        at_q    <= at_q + 7'd2;
        state_q <= write_q ? Value : Read;
        if (!is_hex(here)) begin
          at_q    <= '0;
          state_q <= Text;
        end
      end

      Value: begin
        value_q  <= {value_q[27:0], hex_value(here)};
        digits_q <= digits_q + 4'd1;
        at_q     <= at_q + 7'd1;
        if (at_q + 7'd1 == length_q) state_q <= Write;
        if (!is_hex(here) || digits_q == 4'd8) begin
          at_q    <= '0;
          state_q <= Text;
        end
      end

      Write: if (written_i) state_q <= Read;

      // A write shows what is there after it.
      Read: begin
        value_q  <= value_i;
        digits_q <= '0;
        state_q  <= Hex;
      end

      Hex: if (sent) begin
        value_q  <= {value_q[27:0], 4'd0};
        digits_q <= digits_q + 4'd1;
        if (digits_q == 4'd7) begin
          length_q <= '0;
          at_q     <= '0;
          text_q   <= NewLine;
          state_q  <= Text;
        end
      end

      Echo: if (sent) begin
        at_q <= at_q + 7'd1;
        if (at_q + 7'd1 == length_q) begin
          length_q <= '0;
          at_q     <= '0;
          text_q   <= NewLine;
          state_q  <= Text;
        end
      end

      default: state_q <= Start;
    endcase

    // Not in the middle of a byte that is offered.
    if (connected_i && !connected_q && (!tx_valid_o || sent)) state_q <= Start;
    else if (connected_i && !connected_q) connected_q <= 1'b0;

    if (!rst_ni) begin
      state_q     <= Start;
      connected_q <= connected_i;
    end
  end

endmodule
