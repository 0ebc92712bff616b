-- SPDX-License-Identifier: Apache-2.0
--
-- AXI4 slave of 32 bits to a plain register port: what accelerator_axi_regs is in SystemVerilog. One
-- write and one read transaction at a time, INCR bursts. An access is done in a clock with valid and
-- ready; data of a read is expected in the same clock as its address.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity vhdl_card_axi is
  generic (
    AddrWidth : integer := 64;
    IdWidth   : integer := 1
  );
  port (
    aclk          : in  std_logic;
    aresetn       : in  std_logic;

    s_axi_awid    : in  std_logic_vector(IdWidth - 1 downto 0);
    s_axi_awaddr  : in  std_logic_vector(AddrWidth - 1 downto 0);
    s_axi_awsize  : in  std_logic_vector(2 downto 0);
    s_axi_awvalid : in  std_logic;
    s_axi_awready : out std_logic;
    s_axi_wdata   : in  std_logic_vector(31 downto 0);
    s_axi_wstrb   : in  std_logic_vector(3 downto 0);
    s_axi_wlast   : in  std_logic;
    s_axi_wvalid  : in  std_logic;
    s_axi_wready  : out std_logic;
    s_axi_bid     : out std_logic_vector(IdWidth - 1 downto 0);
    s_axi_bresp   : out std_logic_vector(1 downto 0);
    s_axi_bvalid  : out std_logic;
    s_axi_bready  : in  std_logic;
    s_axi_arid    : in  std_logic_vector(IdWidth - 1 downto 0);
    s_axi_araddr  : in  std_logic_vector(AddrWidth - 1 downto 0);
    s_axi_arlen   : in  std_logic_vector(7 downto 0);
    s_axi_arsize  : in  std_logic_vector(2 downto 0);
    s_axi_arvalid : in  std_logic;
    s_axi_arready : out std_logic;
    s_axi_rid     : out std_logic_vector(IdWidth - 1 downto 0);
    s_axi_rdata   : out std_logic_vector(31 downto 0);
    s_axi_rresp   : out std_logic_vector(1 downto 0);
    s_axi_rlast   : out std_logic;
    s_axi_rvalid  : out std_logic;
    s_axi_rready  : in  std_logic;

    wr_valid      : out std_logic;
    wr_ready      : in  std_logic;
    wr_addr       : out std_logic_vector(11 downto 0);
    wr_data       : out std_logic_vector(31 downto 0);
    wr_strb       : out std_logic_vector(3 downto 0);
    rd_addr       : out std_logic_vector(11 downto 0);
    rd_data       : in  std_logic_vector(31 downto 0)
  );
end entity;

architecture rtl of vhdl_card_axi is

  -- The address of the beat after one, 4 KiB being a burst's limit.
  function next_addr(addr : std_logic_vector; size : std_logic_vector) return std_logic_vector is
    variable bytes : unsigned(11 downto 0);
    variable low   : unsigned(11 downto 0);
  begin
    bytes := shift_left(to_unsigned(1, 12), to_integer(unsigned(size)));
    low   := unsigned(addr) and not (bytes - 1);
    return std_logic_vector(low + bytes);
  end function;

  type write_state is (w_address, w_data, w_answer);
  type read_state is (r_address, r_fetch, r_data);

  signal write_q : write_state;
  signal read_q  : read_state;
  signal waddr_q : std_logic_vector(11 downto 0);
  signal wsize_q : std_logic_vector(2 downto 0);
  signal raddr_q : std_logic_vector(11 downto 0);
  signal rsize_q : std_logic_vector(2 downto 0);
  signal left_q  : unsigned(7 downto 0);

begin

  s_axi_awready <= '1' when write_q = w_address and aresetn = '1' else '0';
  s_axi_wready  <= wr_ready when write_q = w_data else '0';
  s_axi_bvalid  <= '1' when write_q = w_answer else '0';
  s_axi_bresp   <= "00";
  wr_valid      <= s_axi_wvalid when write_q = w_data else '0';
  wr_addr       <= waddr_q(11 downto 2) & "00";
  wr_data       <= s_axi_wdata;
  wr_strb       <= s_axi_wstrb;

  p_write : process (aclk)
  begin
    if rising_edge(aclk) then
      if aresetn = '0' then
        write_q <= w_address;
      else
        case write_q is
          when w_address =>
            if s_axi_awvalid = '1' then
              s_axi_bid <= s_axi_awid;
              waddr_q   <= s_axi_awaddr(11 downto 0);
              wsize_q   <= s_axi_awsize;
              write_q   <= w_data;
            end if;
          when w_data =>
            if s_axi_wvalid = '1' and wr_ready = '1' then
              waddr_q <= next_addr(waddr_q, wsize_q);
              if s_axi_wlast = '1' then
                write_q <= w_answer;
              end if;
            end if;
          when w_answer =>
            if s_axi_bready = '1' then
              write_q <= w_address;
            end if;
        end case;
      end if;
    end if;
  end process;

  s_axi_arready <= '1' when read_q = r_address and aresetn = '1' else '0';
  s_axi_rvalid  <= '1' when read_q = r_data else '0';
  s_axi_rlast   <= '1' when left_q = 0 else '0';
  s_axi_rresp   <= "00";
  rd_addr       <= raddr_q;

  p_read : process (aclk)
  begin
    if rising_edge(aclk) then
      if aresetn = '0' then
        read_q <= r_address;
      else
        case read_q is
          when r_address =>
            if s_axi_arvalid = '1' then
              s_axi_rid <= s_axi_arid;
              raddr_q   <= s_axi_araddr(11 downto 0);
              rsize_q   <= s_axi_arsize;
              left_q    <= unsigned(s_axi_arlen);
              read_q    <= r_fetch;
            end if;
          when r_fetch =>
            s_axi_rdata <= rd_data;
            raddr_q     <= next_addr(raddr_q, rsize_q);
            read_q      <= r_data;
          when r_data =>
            if s_axi_rready = '1' then
              left_q <= left_q - 1;
              if left_q = 0 then
                read_q <= r_address;
              else
                read_q <= r_fetch;
              end if;
            end if;
        end case;
      end if;
    end if;
  end process;

end architecture;
