// SPDX-License-Identifier: Apache-2.0
//
// What the guest has set in config space, for RTL that wants to know. The process of the bridge
// that makes every DPI call fetches it here when the library says that it has changed.

module accelerator_function
  import accelerator_dpi_pkg::*;
#(
  // Of the bridge, in messages.
  parameter string Name = "accelerator0"
) (
  output logic        cfg_memory_space_enable,
  output logic        cfg_bus_master_enable,
  output logic        cfg_intx_disable,
  output logic        cfg_msix_enable,
  output logic        cfg_msix_mask,
  output logic        cfg_msi_enable,
  output logic [5:0]  cfg_msi_vectors,
  output logic [31:0] cfg_msi_mask,
  output logic        cfg_extended_tag_enable,
  output logic        cfg_relaxed_ordering_enable,
  output logic        cfg_no_snoop_enable,
  output logic [1:0]  cfg_power_state,
  output logic [2:0]  cfg_max_payload,
  output logic [2:0]  cfg_max_read_req,
  output logic [15:0] cfg_requester_id,
  output logic [2:0]  cfg_current_speed,
  output logic [5:0]  cfg_negotiated_width,

  // Where the guest has put the BARs on the bus, those whose address is known.
  output logic [5:0]       bar_known_o,
  output logic [5:0][63:0] bar_address_o
);

  // What a function has set out of reset, until a host tells: known before the first clock, whatever a
  // simulator begins with.
  /* verilator lint_off PROCASSINIT */
  logic        memory_space_enable_q     = 1'b0;
  logic        bus_master_enable_q       = 1'b0;
  logic        intx_disable_q            = 1'b0;
  logic        msix_enable_q             = 1'b0;
  logic        msix_mask_q               = 1'b0;
  logic        msi_enable_q              = 1'b0;
  logic [5:0]  msi_vectors_q             = 6'd1;
  logic [31:0] msi_mask_q                = '0;
  logic        extended_tag_enable_q     = 1'b0;
  logic        relaxed_ordering_enable_q = 1'b0;
  logic        no_snoop_enable_q         = 1'b0;
  logic [1:0]  power_state_q             = '0;
  logic [2:0]  max_payload_q             = '0;
  logic [2:0]  max_read_req_q            = 3'd2;
  logic [15:0] requester_id_q            = '0;
  logic [2:0]  current_speed_q           = '0;
  logic [5:0]  negotiated_width_q        = '0;
  logic [5:0]       bar_known_q          = '0;
  logic [5:0][63:0] bar_address_q        = '0;
  /* verilator lint_on PROCASSINIT */

  assign cfg_memory_space_enable      = memory_space_enable_q;
  assign cfg_bus_master_enable        = bus_master_enable_q;
  assign cfg_intx_disable             = intx_disable_q;
  assign cfg_msix_enable              = msix_enable_q;
  assign cfg_msix_mask                = msix_mask_q;
  assign cfg_msi_enable               = msi_enable_q;
  assign cfg_msi_vectors              = msi_vectors_q;
  assign cfg_msi_mask                 = msi_mask_q;
  assign cfg_extended_tag_enable      = extended_tag_enable_q;
  assign cfg_relaxed_ordering_enable  = relaxed_ordering_enable_q;
  assign cfg_no_snoop_enable          = no_snoop_enable_q;
  assign cfg_power_state              = power_state_q;
  assign cfg_max_payload              = max_payload_q;
  assign cfg_max_read_req             = max_read_req_q;
  assign cfg_requester_id             = requester_id_q;
  assign cfg_current_speed            = current_speed_q;
  assign cfg_negotiated_width         = negotiated_width_q;
  assign bar_known_o                  = bar_known_q;
  assign bar_address_o                = bar_address_q;

  // Bytes as the registers of PCI Express have them: 0 is 128, each one more twice as much.
  function automatic logic [2:0] size_code(int bytes);
    return 3'($clog2(bytes) - 7);
  endfunction

  // Complaints so far.
  lines_t      complaints;

  task automatic fetch(input chandle handle);
    automatic int status, flags, payload, request;
    // Ints of the library, of which no port has all bits.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int power, id, speed, width, vectors, mask;
    /* verilator lint_on UNUSEDSIGNAL */
    automatic longint address;
    status = acc_get_function(handle, flags, power, payload, request, id, speed, width);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_function", complaints);
    end else begin
      memory_space_enable_q     <= (flags & FunctionMemorySpace) != 0;
      bus_master_enable_q       <= (flags & FunctionBusMaster) != 0;
      intx_disable_q            <= (flags & FunctionIntxDisable) != 0;
      msix_enable_q             <= (flags & FunctionMsixEnable) != 0;
      msix_mask_q               <= (flags & FunctionMsixMask) != 0;
      msi_enable_q              <= (flags & FunctionMsiEnable) != 0;
      extended_tag_enable_q     <= (flags & FunctionExtendedTag) != 0;
      relaxed_ordering_enable_q <= (flags & FunctionRelaxedOrdering) != 0;
      no_snoop_enable_q         <= (flags & FunctionNoSnoop) != 0;
      power_state_q             <= 2'(power);
      max_payload_q             <= size_code(payload);
      max_read_req_q            <= size_code(request);
      requester_id_q            <= 16'(id);
      current_speed_q           <= 3'(speed);
      negotiated_width_q        <= 6'(width);
    end
    status = acc_get_msi(handle, vectors, mask);
    if (status < 0) begin
      complaints = complain(handle, Name, status, "acc_get_msi", complaints);
    end else begin
      msi_vectors_q <= 6'(vectors);
      msi_mask_q    <= 32'(mask);
    end
    for (int i = 0; i < 6; i++) begin
      status = acc_get_bar(handle, i, address);
      if (status < 0) begin
        complaints = complain(handle, Name, status, "acc_get_bar", complaints);
      end else begin
        bar_known_q[i]   <= status == 1;
        bar_address_q[i] <= address;
      end
    end
  endtask

  final begin : p_left_out
    tell_left_out(Name, "failed calls", complaints.left_out);
  end

endmodule
