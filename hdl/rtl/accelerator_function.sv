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
  output logic        cfg_extended_tag_enable,
  output logic        cfg_relaxed_ordering_enable,
  output logic        cfg_no_snoop_enable,
  output logic [1:0]  cfg_power_state,
  output logic [2:0]  cfg_max_payload,
  output logic [2:0]  cfg_max_read_req,
  output logic [15:0] cfg_requester_id,
  output logic [2:0]  cfg_current_speed,
  output logic [5:0]  cfg_negotiated_width
);

  // Bytes as the registers of PCI Express have them: 0 is 128, each one more twice as much.
  function automatic logic [2:0] size_code(int bytes);
    return 3'($clog2(bytes) - 7);
  endfunction

  task automatic fetch(input chandle handle);
    automatic int status, flags, payload, request;
    // Ints of the library, of which no port has all bits.
    /* verilator lint_off UNUSEDSIGNAL */
    automatic int power, id, speed, width;
    /* verilator lint_on UNUSEDSIGNAL */
    status = acc_get_function(handle, flags, power, payload, request, id, speed, width);
    if (status < 0) begin
      complain(handle, Name, status, "acc_get_function");
    end else begin
      cfg_memory_space_enable     <= (flags & FunctionMemorySpace) != 0;
      cfg_bus_master_enable       <= (flags & FunctionBusMaster) != 0;
      cfg_intx_disable            <= (flags & FunctionIntxDisable) != 0;
      cfg_msix_enable             <= (flags & FunctionMsixEnable) != 0;
      cfg_msix_mask               <= (flags & FunctionMsixMask) != 0;
      cfg_extended_tag_enable     <= (flags & FunctionExtendedTag) != 0;
      cfg_relaxed_ordering_enable <= (flags & FunctionRelaxedOrdering) != 0;
      cfg_no_snoop_enable         <= (flags & FunctionNoSnoop) != 0;
      cfg_power_state             <= 2'(power);
      cfg_max_payload             <= size_code(payload);
      cfg_max_read_req            <= size_code(request);
      cfg_requester_id            <= 16'(id);
      cfg_current_speed           <= 3'(speed);
      cfg_negotiated_width        <= 6'(width);
    end
  endtask

endmodule
