-- SPDX-License-Identifier: Apache-2.0
--
-- A card in VHDL: registers behind an AXI4 slave, a copy engine that is a bus master on host memory,
-- and interrupts. The registers up to 0x08F are those of examples/regs.
--
--   0x000  ID       ro  0x53474552, "REGS"
--   0x004  SCRATCH  rw  byte enables honoured, 0 after reset
--   0x008  COUNTER  ro  clocks since reset
--   0x00C  IRQ      rw  a write raises the MSI-X vector of that number
--   0x010  RAM      rw  128 bytes, byte enables honoured
--   0x100  SOURCE   rw  64 bits: host address, a multiple of 4
--   0x108  DEST     rw  64 bits, likewise
--   0x110  LENGTH   rw  bytes, a multiple of 4
--   0x114  COPY     rw  a write of bit 0 starts a copy, unless one is under way. Reads bit 0 busy,
--                       bit 1 the last one is done, bit 2 and failed
--   0x118  VECTOR   rw  the MSI-X vector of a copy that is done
--
-- Anything else reads 0.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity vhdl_card is
  generic (
    AddrWidth   : integer := 64;
    MmioIdWidth : integer := 1;
    DmaIdWidth  : integer := 4
  );
  port (
    aclk          : in  std_logic;
    aresetn       : in  std_logic;

    -- The guest's accesses.
    s_axi_awid    : in  std_logic_vector(MmioIdWidth - 1 downto 0);
    s_axi_awaddr  : in  std_logic_vector(AddrWidth - 1 downto 0);
    s_axi_awlen   : in  std_logic_vector(7 downto 0);
    s_axi_awsize  : in  std_logic_vector(2 downto 0);
    s_axi_awburst : in  std_logic_vector(1 downto 0);
    s_axi_awvalid : in  std_logic;
    s_axi_awready : out std_logic;
    s_axi_wdata   : in  std_logic_vector(31 downto 0);
    s_axi_wstrb   : in  std_logic_vector(3 downto 0);
    s_axi_wlast   : in  std_logic;
    s_axi_wvalid  : in  std_logic;
    s_axi_wready  : out std_logic;
    s_axi_bid     : out std_logic_vector(MmioIdWidth - 1 downto 0);
    s_axi_bresp   : out std_logic_vector(1 downto 0);
    s_axi_bvalid  : out std_logic;
    s_axi_bready  : in  std_logic;
    s_axi_arid    : in  std_logic_vector(MmioIdWidth - 1 downto 0);
    s_axi_araddr  : in  std_logic_vector(AddrWidth - 1 downto 0);
    s_axi_arlen   : in  std_logic_vector(7 downto 0);
    s_axi_arsize  : in  std_logic_vector(2 downto 0);
    s_axi_arburst : in  std_logic_vector(1 downto 0);
    s_axi_arvalid : in  std_logic;
    s_axi_arready : out std_logic;
    s_axi_rid     : out std_logic_vector(MmioIdWidth - 1 downto 0);
    s_axi_rdata   : out std_logic_vector(31 downto 0);
    s_axi_rresp   : out std_logic_vector(1 downto 0);
    s_axi_rlast   : out std_logic;
    s_axi_rvalid  : out std_logic;
    s_axi_rready  : in  std_logic;

    -- Host memory.
    m_axi_awid    : out std_logic_vector(DmaIdWidth - 1 downto 0);
    m_axi_awaddr  : out std_logic_vector(AddrWidth - 1 downto 0);
    m_axi_awlen   : out std_logic_vector(7 downto 0);
    m_axi_awsize  : out std_logic_vector(2 downto 0);
    m_axi_awburst : out std_logic_vector(1 downto 0);
    m_axi_awvalid : out std_logic;
    m_axi_awready : in  std_logic;
    m_axi_wdata   : out std_logic_vector(31 downto 0);
    m_axi_wstrb   : out std_logic_vector(3 downto 0);
    m_axi_wlast   : out std_logic;
    m_axi_wvalid  : out std_logic;
    m_axi_wready  : in  std_logic;
    m_axi_bid     : in  std_logic_vector(DmaIdWidth - 1 downto 0);
    m_axi_bresp   : in  std_logic_vector(1 downto 0);
    m_axi_bvalid  : in  std_logic;
    m_axi_bready  : out std_logic;
    m_axi_arid    : out std_logic_vector(DmaIdWidth - 1 downto 0);
    m_axi_araddr  : out std_logic_vector(AddrWidth - 1 downto 0);
    m_axi_arlen   : out std_logic_vector(7 downto 0);
    m_axi_arsize  : out std_logic_vector(2 downto 0);
    m_axi_arburst : out std_logic_vector(1 downto 0);
    m_axi_arvalid : out std_logic;
    m_axi_arready : in  std_logic;
    m_axi_rid     : in  std_logic_vector(DmaIdWidth - 1 downto 0);
    m_axi_rdata   : in  std_logic_vector(31 downto 0);
    m_axi_rresp   : in  std_logic_vector(1 downto 0);
    m_axi_rlast   : in  std_logic;
    m_axi_rvalid  : in  std_logic;
    m_axi_rready  : out std_logic;

    msix_valid    : out std_logic;
    msix_ready    : in  std_logic;
    msix_vector   : out std_logic_vector(10 downto 0)
  );
end entity;

architecture rtl of vhdl_card is

  type words is array (0 to 31) of std_logic_vector(31 downto 0);

  -- The bytes of old whose strobe is set, replaced by those of the write.
  function merge(old, data : std_logic_vector(31 downto 0); strb : std_logic_vector(3 downto 0))
    return std_logic_vector is
    variable merged : std_logic_vector(31 downto 0);
  begin
    merged := old;
    for i in 0 to 3 loop
      if strb(i) = '1' then
        merged(8 * i + 7 downto 8 * i) := data(8 * i + 7 downto 8 * i);
      end if;
    end loop;
    return merged;
  end function;

  function is_ram(addr : std_logic_vector(11 downto 0)) return boolean is
  begin
    return unsigned(addr) >= 16#010# and unsigned(addr) < 16#090#;
  end function;

  function ram_index(addr : std_logic_vector(11 downto 0)) return integer is
    variable place : unsigned(11 downto 0);
  begin
    place := unsigned(addr) - 16#010#;
    return to_integer(place(6 downto 2));
  end function;

  signal wr_valid, wr_ready : std_logic;
  signal wr_addr, rd_addr   : std_logic_vector(11 downto 0);
  signal wr_data, rd_data   : std_logic_vector(31 downto 0);
  signal wr_strb            : std_logic_vector(3 downto 0);

  signal scratch_q          : std_logic_vector(31 downto 0);
  signal counter_q          : unsigned(31 downto 0);
  signal ram_q              : words;
  signal source_q, dest_q   : std_logic_vector(63 downto 0);
  signal length_q, vector_q : std_logic_vector(31 downto 0);
  signal done_q, failed_q   : std_logic;

  signal start, busy, done, failed : std_logic;
  -- Until the registers have what became of a copy.
  signal active             : std_logic;
  -- An interrupt that is handed over, its vector, and a copy's that waits for that.
  signal irq_q, waits_q     : std_logic;
  signal irq_vector_q       : std_logic_vector(10 downto 0);

begin

  u_axi : entity work.vhdl_card_axi
    generic map (AddrWidth => AddrWidth, IdWidth => MmioIdWidth)
    port map (
      aclk          => aclk,          aresetn       => aresetn,
      s_axi_awid    => s_axi_awid,    s_axi_awaddr  => s_axi_awaddr,
      s_axi_awsize  => s_axi_awsize,  s_axi_awvalid => s_axi_awvalid,
      s_axi_awready => s_axi_awready, s_axi_wdata   => s_axi_wdata,
      s_axi_wstrb   => s_axi_wstrb,   s_axi_wlast   => s_axi_wlast,
      s_axi_wvalid  => s_axi_wvalid,  s_axi_wready  => s_axi_wready,
      s_axi_bid     => s_axi_bid,     s_axi_bresp   => s_axi_bresp,
      s_axi_bvalid  => s_axi_bvalid,  s_axi_bready  => s_axi_bready,
      s_axi_arid    => s_axi_arid,    s_axi_araddr  => s_axi_araddr,
      s_axi_arlen   => s_axi_arlen,   s_axi_arsize  => s_axi_arsize,
      s_axi_arvalid => s_axi_arvalid, s_axi_arready => s_axi_arready,
      s_axi_rid     => s_axi_rid,     s_axi_rdata   => s_axi_rdata,
      s_axi_rresp   => s_axi_rresp,   s_axi_rlast   => s_axi_rlast,
      s_axi_rvalid  => s_axi_rvalid,  s_axi_rready  => s_axi_rready,
      wr_valid      => wr_valid,      wr_ready      => wr_ready,
      wr_addr       => wr_addr,       wr_data       => wr_data,
      wr_strb       => wr_strb,
      rd_addr       => rd_addr,       rd_data       => rd_data
    );

  u_copy : entity work.vhdl_card_copy
    generic map (AddrWidth => AddrWidth, IdWidth => DmaIdWidth)
    port map (
      aclk          => aclk,          aresetn       => aresetn,
      start         => start,         source        => source_q,
      destination   => dest_q,        length        => length_q,
      busy          => busy,          done          => done,
      failed        => failed,
      m_axi_awid    => m_axi_awid,    m_axi_awaddr  => m_axi_awaddr,
      m_axi_awlen   => m_axi_awlen,   m_axi_awsize  => m_axi_awsize,
      m_axi_awburst => m_axi_awburst, m_axi_awvalid => m_axi_awvalid,
      m_axi_awready => m_axi_awready, m_axi_wdata   => m_axi_wdata,
      m_axi_wstrb   => m_axi_wstrb,   m_axi_wlast   => m_axi_wlast,
      m_axi_wvalid  => m_axi_wvalid,  m_axi_wready  => m_axi_wready,
      m_axi_bresp   => m_axi_bresp,   m_axi_bvalid  => m_axi_bvalid,
      m_axi_bready  => m_axi_bready,
      m_axi_arid    => m_axi_arid,    m_axi_araddr  => m_axi_araddr,
      m_axi_arlen   => m_axi_arlen,   m_axi_arsize  => m_axi_arsize,
      m_axi_arburst => m_axi_arburst, m_axi_arvalid => m_axi_arvalid,
      m_axi_arready => m_axi_arready, m_axi_rdata   => m_axi_rdata,
      m_axi_rresp   => m_axi_rresp,   m_axi_rlast   => m_axi_rlast,
      m_axi_rvalid  => m_axi_rvalid,  m_axi_rready  => m_axi_rready
    );

  -- The guest's write waits while an interrupt is being handed over.
  wr_ready    <= not (irq_q or waits_q);
  msix_valid  <= irq_q;
  msix_vector <= irq_vector_q;
  active      <= busy or done;
  start       <= '1' when wr_valid = '1' and wr_ready = '1' and wr_addr = x"114" and
                          wr_strb(0) = '1' and wr_data(0) = '1' and active = '0' else '0';

  p_registers : process (aclk)
  begin
    if rising_edge(aclk) then
      if aresetn = '0' then
        scratch_q    <= (others => '0');
        counter_q    <= (others => '0');
        ram_q        <= (others => (others => '0'));
        source_q     <= (others => '0');
        dest_q       <= (others => '0');
        length_q     <= (others => '0');
        vector_q     <= (others => '0');
        done_q       <= '0';
        failed_q     <= '0';
        irq_q        <= '0';
        waits_q      <= '0';
        irq_vector_q <= (others => '0');
      else
        counter_q <= counter_q + 1;
        if msix_ready = '1' then
          irq_q <= '0';
        end if;
        if waits_q = '1' and (irq_q = '0' or msix_ready = '1') then
          irq_q        <= '1';
          irq_vector_q <= vector_q(10 downto 0);
          waits_q      <= '0';
        end if;
        if done = '1' then
          done_q   <= '1';
          failed_q <= failed;
          waits_q  <= '1';
        end if;
        if wr_valid = '1' and wr_ready = '1' then
          case wr_addr is
            when x"004" => scratch_q <= merge(scratch_q, wr_data, wr_strb);
            when x"00C" =>
              irq_q        <= '1';
              irq_vector_q <= merge(x"00000000", wr_data, wr_strb)(10 downto 0);
            when x"100" => source_q(31 downto 0)  <= merge(source_q(31 downto 0), wr_data, wr_strb);
            when x"104" => source_q(63 downto 32) <= merge(source_q(63 downto 32), wr_data, wr_strb);
            when x"108" => dest_q(31 downto 0)    <= merge(dest_q(31 downto 0), wr_data, wr_strb);
            when x"10C" => dest_q(63 downto 32)   <= merge(dest_q(63 downto 32), wr_data, wr_strb);
            when x"110" => length_q <= merge(length_q, wr_data, wr_strb);
            when x"118" => vector_q <= merge(vector_q, wr_data, wr_strb);
            when others =>
              if is_ram(wr_addr) then
                ram_q(ram_index(wr_addr)) <= merge(ram_q(ram_index(wr_addr)), wr_data, wr_strb);
              end if;
          end case;
          if start = '1' then
            done_q   <= '0';
            failed_q <= '0';
          end if;
        end if;
      end if;
    end if;
  end process;

  p_read : process (rd_addr, scratch_q, counter_q, irq_vector_q, source_q, dest_q, length_q, failed_q,
                    done_q, active, vector_q, ram_q)
    variable word : std_logic_vector(11 downto 0);
  begin
    word    := rd_addr(11 downto 2) & "00";
    rd_data <= (others => '0');
    case word is
      when x"000" => rd_data <= x"53474552";
      when x"004" => rd_data <= scratch_q;
      when x"008" => rd_data <= std_logic_vector(counter_q);
      when x"00C" => rd_data(10 downto 0) <= irq_vector_q;
      when x"100" => rd_data <= source_q(31 downto 0);
      when x"104" => rd_data <= source_q(63 downto 32);
      when x"108" => rd_data <= dest_q(31 downto 0);
      when x"10C" => rd_data <= dest_q(63 downto 32);
      when x"110" => rd_data <= length_q;
      when x"114" => rd_data(2 downto 0) <= failed_q & done_q & active;
      when x"118" => rd_data <= vector_q;
      when others =>
        if is_ram(word) then
          rd_data <= ram_q(ram_index(word));
        end if;
    end case;
  end process;

end architecture;
