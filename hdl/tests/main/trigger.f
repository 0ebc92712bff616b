trigger_top.sv
