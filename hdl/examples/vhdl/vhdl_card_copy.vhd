-- SPDX-License-Identifier: Apache-2.0
--
-- Copies words in host memory: bursts of up to 16 words are read into a buffer and written from it,
-- one at a time. A start with a length of 0 is done at once.

library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity vhdl_card_copy is
  generic (
    AddrWidth : integer := 64;
    IdWidth   : integer := 4
  );
  port (
    aclk          : in  std_logic;
    aresetn       : in  std_logic;

    -- Taken with start, while busy is low. The lowest two bits of each are not looked at.
    start         : in  std_logic;
    source        : in  std_logic_vector(63 downto 0);
    destination   : in  std_logic_vector(63 downto 0);
    length        : in  std_logic_vector(31 downto 0);
    busy          : out std_logic;
    -- One clock, with the last answer that it waits for; failed, if one of them was an error, which
    -- ends the copy.
    done          : out std_logic;
    failed        : out std_logic;

    m_axi_awid    : out std_logic_vector(IdWidth - 1 downto 0);
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
    m_axi_bresp   : in  std_logic_vector(1 downto 0);
    m_axi_bvalid  : in  std_logic;
    m_axi_bready  : out std_logic;
    m_axi_arid    : out std_logic_vector(IdWidth - 1 downto 0);
    m_axi_araddr  : out std_logic_vector(AddrWidth - 1 downto 0);
    m_axi_arlen   : out std_logic_vector(7 downto 0);
    m_axi_arsize  : out std_logic_vector(2 downto 0);
    m_axi_arburst : out std_logic_vector(1 downto 0);
    m_axi_arvalid : out std_logic;
    m_axi_arready : in  std_logic;
    m_axi_rdata   : in  std_logic_vector(31 downto 0);
    m_axi_rresp   : in  std_logic_vector(1 downto 0);
    m_axi_rlast   : in  std_logic;
    m_axi_rvalid  : in  std_logic;
    m_axi_rready  : out std_logic
  );
end entity;

architecture rtl of vhdl_card_copy is

  constant BurstWords : integer := 16;

  type state is (idle, cut, read_address, read_data, write_address, write_data, write_answer);
  type words is array (0 to BurstWords - 1) of std_logic_vector(31 downto 0);

  signal state_q  : state;
  signal buffer_q : words;
  signal source_q : unsigned(61 downto 0);
  signal dest_q   : unsigned(61 downto 0);
  signal left_q   : unsigned(29 downto 0);
  -- Words of the burst, less one, and which one is next.
  signal last_q   : unsigned(3 downto 0);
  signal index_q  : unsigned(3 downto 0);
  signal error_q  : std_logic;

begin

  busy          <= '0' when state_q = idle else '1';

  m_axi_arid    <= (others => '0');
  m_axi_araddr  <= std_logic_vector(resize(source_q & "00", AddrWidth));
  m_axi_arlen   <= "0000" & std_logic_vector(last_q);
  m_axi_arsize  <= "010";
  m_axi_arburst <= "01";
  m_axi_arvalid <= '1' when state_q = read_address else '0';
  m_axi_rready  <= '1' when state_q = read_data else '0';

  m_axi_awid    <= (others => '0');
  m_axi_awaddr  <= std_logic_vector(resize(dest_q & "00", AddrWidth));
  m_axi_awlen   <= "0000" & std_logic_vector(last_q);
  m_axi_awsize  <= "010";
  m_axi_awburst <= "01";
  m_axi_awvalid <= '1' when state_q = write_address else '0';
  m_axi_wdata   <= buffer_q(to_integer(index_q));
  m_axi_wstrb   <= "1111";
  m_axi_wlast   <= '1' when index_q = last_q else '0';
  m_axi_wvalid  <= '1' when state_q = write_data else '0';
  m_axi_bready  <= '1' when state_q = write_answer else '0';

  p_copy : process (aclk)
    variable size : unsigned(29 downto 0);
    variable room : unsigned(29 downto 0);
  begin
    if rising_edge(aclk) then
      done   <= '0';
      failed <= '0';
      if aresetn = '0' then
        state_q <= idle;
        error_q <= '0';
        index_q <= (others => '0');
      else
        case state_q is
          when idle =>
            source_q <= unsigned(source(63 downto 2));
            dest_q   <= unsigned(destination(63 downto 2));
            left_q   <= unsigned(length(31 downto 2));
            error_q  <= '0';
            if start = '1' then
              state_q <= cut;
            end if;

          when cut =>
            -- No burst crosses 4 KiB, of the one side or the other.
            size := left_q;
            if size > BurstWords then
              size := to_unsigned(BurstWords, 30);
            end if;
            room := to_unsigned(1024, 30) - source_q(9 downto 0);
            if size > room then
              size := room;
            end if;
            room := to_unsigned(1024, 30) - dest_q(9 downto 0);
            if size > room then
              size := room;
            end if;
            last_q <= resize(size - 1, 4);
            if left_q = 0 or error_q = '1' then
              done    <= '1';
              failed  <= error_q;
              state_q <= idle;
            else
              state_q <= read_address;
            end if;

          when read_address =>
            if m_axi_arready = '1' then
              state_q <= read_data;
            end if;

          when read_data =>
            if m_axi_rvalid = '1' then
              buffer_q(to_integer(index_q)) <= m_axi_rdata;
              index_q <= index_q + 1;
              error_q <= error_q or m_axi_rresp(1);
              if m_axi_rlast = '1' then
                index_q <= (others => '0');
                if error_q = '1' or m_axi_rresp(1) = '1' then
                  state_q <= cut;
                else
                  state_q <= write_address;
                end if;
              end if;
            end if;

          when write_address =>
            if m_axi_awready = '1' then
              state_q <= write_data;
            end if;

          when write_data =>
            if m_axi_wready = '1' then
              index_q <= index_q + 1;
              if index_q = last_q then
                index_q <= (others => '0');
                state_q <= write_answer;
              end if;
            end if;

          when write_answer =>
            if m_axi_bvalid = '1' then
              source_q <= source_q + last_q + 1;
              dest_q   <= dest_q + last_q + 1;
              left_q   <= left_q - last_q - 1;
              error_q  <= error_q or m_axi_bresp(1);
              state_q  <= cut;
            end if;
        end case;
      end if;
    end if;
  end process;

end architecture;
