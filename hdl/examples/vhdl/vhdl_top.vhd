-- SPDX-License-Identifier: Apache-2.0
--
-- What is simulated: the bridge, which is SystemVerilog, as a component, and the card. Outputs of
-- the bridge that the card has no use for are left out. Copy it to begin with.

library ieee;
use ieee.std_logic_1164.all;
use work.accelerator_components.all;

entity vhdl_top is
  port (
    aclk    : in std_logic;
    aresetn : in std_logic
  );
end entity;

architecture rtl of vhdl_top is

  signal user_resetn            : std_logic;
  signal msix_valid, msix_ready : std_logic;
  signal msix_vector            : std_logic_vector(10 downto 0);

  -- Guest accesses (bar) and host memory (dma).
  signal bar_awid, bar_bid, bar_arid, bar_rid : std_logic_vector(0 downto 0);
  signal bar_awaddr, bar_araddr : std_logic_vector(63 downto 0);
  signal bar_awlen, bar_arlen : std_logic_vector(7 downto 0);
  signal bar_awsize, bar_arsize : std_logic_vector(2 downto 0);
  signal bar_awburst, bar_bresp, bar_arburst, bar_rresp : std_logic_vector(1 downto 0);
  signal bar_awvalid, bar_awready, bar_wlast, bar_wvalid, bar_wready, bar_bvalid,
    bar_bready, bar_arvalid, bar_arready, bar_rlast, bar_rvalid, bar_rready : std_logic;
  signal bar_wdata, bar_rdata : std_logic_vector(31 downto 0);
  signal bar_wstrb : std_logic_vector(3 downto 0);
  signal dma_awid, dma_wstrb, dma_bid, dma_arid, dma_rid : std_logic_vector(3 downto 0);
  signal dma_awaddr, dma_araddr : std_logic_vector(63 downto 0);
  signal dma_awlen, dma_arlen : std_logic_vector(7 downto 0);
  signal dma_awsize, dma_arsize : std_logic_vector(2 downto 0);
  signal dma_awburst, dma_bresp, dma_arburst, dma_rresp : std_logic_vector(1 downto 0);
  signal dma_awvalid, dma_awready, dma_wlast, dma_wvalid, dma_wready, dma_bvalid,
    dma_bready, dma_arvalid, dma_arready, dma_rlast, dma_rvalid, dma_rready : std_logic;
  signal dma_wdata, dma_rdata : std_logic_vector(31 downto 0);

begin

  u_bridge : accelerator_pcie_bridge
    generic map (
      Name          => "vhdl",
      VendorId      => 16#10EE#,
      DeviceId      => 16#7011#,
      ClassCode     => 16#120000#,
      RevisionId    => 1,
      Bar0Size      => 16#1000#,
      Bar1Size      => 16#1000#,
      MsixVectors   => 8,
      MsixTableBar  => 1,
      MsixPbaBar    => 1,
      MsixPbaOffset => 16#800#,
      DmaDataWidth  => 32
    )
    port map (
      aclk        => aclk, aresetn     => aresetn,
      user_resetn => user_resetn, intx        => '0',
      msix_valid  => msix_valid, msix_ready  => msix_ready,
      msix_vector => msix_vector,
      m_axi_awid    => bar_awid, m_axi_awaddr  => bar_awaddr,
      m_axi_awlen   => bar_awlen, m_axi_awsize  => bar_awsize,
      m_axi_awburst => bar_awburst, m_axi_awvalid => bar_awvalid,
      m_axi_awready => bar_awready, m_axi_wdata   => bar_wdata,
      m_axi_wstrb   => bar_wstrb, m_axi_wlast   => bar_wlast,
      m_axi_wvalid  => bar_wvalid, m_axi_wready  => bar_wready,
      m_axi_bid     => bar_bid, m_axi_bresp   => bar_bresp,
      m_axi_bvalid  => bar_bvalid, m_axi_bready  => bar_bready,
      m_axi_arid    => bar_arid, m_axi_araddr  => bar_araddr,
      m_axi_arlen   => bar_arlen, m_axi_arsize  => bar_arsize,
      m_axi_arburst => bar_arburst, m_axi_arvalid => bar_arvalid,
      m_axi_arready => bar_arready, m_axi_rid     => bar_rid,
      m_axi_rdata   => bar_rdata, m_axi_rresp   => bar_rresp,
      m_axi_rlast   => bar_rlast, m_axi_rvalid  => bar_rvalid,
      m_axi_rready  => bar_rready, s_axi_awid    => dma_awid,
      s_axi_awaddr  => dma_awaddr, s_axi_awlen   => dma_awlen,
      s_axi_awsize  => dma_awsize, s_axi_awburst => dma_awburst,
      s_axi_awvalid => dma_awvalid, s_axi_awready => dma_awready,
      s_axi_wdata   => dma_wdata, s_axi_wstrb   => dma_wstrb,
      s_axi_wlast   => dma_wlast, s_axi_wvalid  => dma_wvalid,
      s_axi_wready  => dma_wready, s_axi_bid     => dma_bid,
      s_axi_bresp   => dma_bresp, s_axi_bvalid  => dma_bvalid,
      s_axi_bready  => dma_bready, s_axi_arid    => dma_arid,
      s_axi_araddr  => dma_araddr, s_axi_arlen   => dma_arlen,
      s_axi_arsize  => dma_arsize, s_axi_arburst => dma_arburst,
      s_axi_arvalid => dma_arvalid, s_axi_arready => dma_arready,
      s_axi_rid     => dma_rid, s_axi_rdata   => dma_rdata,
      s_axi_rresp   => dma_rresp, s_axi_rlast   => dma_rlast,
      s_axi_rvalid  => dma_rvalid, s_axi_rready  => dma_rready
    );

  u_card : entity work.vhdl_card
    port map (
      aclk        => aclk, aresetn     => user_resetn,
      msix_valid  => msix_valid, msix_ready  => msix_ready,
      msix_vector => msix_vector,
      s_axi_awid    => bar_awid, s_axi_awaddr  => bar_awaddr,
      s_axi_awlen   => bar_awlen, s_axi_awsize  => bar_awsize,
      s_axi_awburst => bar_awburst, s_axi_awvalid => bar_awvalid,
      s_axi_awready => bar_awready, s_axi_wdata   => bar_wdata,
      s_axi_wstrb   => bar_wstrb, s_axi_wlast   => bar_wlast,
      s_axi_wvalid  => bar_wvalid, s_axi_wready  => bar_wready,
      s_axi_bid     => bar_bid, s_axi_bresp   => bar_bresp,
      s_axi_bvalid  => bar_bvalid, s_axi_bready  => bar_bready,
      s_axi_arid    => bar_arid, s_axi_araddr  => bar_araddr,
      s_axi_arlen   => bar_arlen, s_axi_arsize  => bar_arsize,
      s_axi_arburst => bar_arburst, s_axi_arvalid => bar_arvalid,
      s_axi_arready => bar_arready, s_axi_rid     => bar_rid,
      s_axi_rdata   => bar_rdata, s_axi_rresp   => bar_rresp,
      s_axi_rlast   => bar_rlast, s_axi_rvalid  => bar_rvalid,
      s_axi_rready  => bar_rready, m_axi_awid    => dma_awid,
      m_axi_awaddr  => dma_awaddr, m_axi_awlen   => dma_awlen,
      m_axi_awsize  => dma_awsize, m_axi_awburst => dma_awburst,
      m_axi_awvalid => dma_awvalid, m_axi_awready => dma_awready,
      m_axi_wdata   => dma_wdata, m_axi_wstrb   => dma_wstrb,
      m_axi_wlast   => dma_wlast, m_axi_wvalid  => dma_wvalid,
      m_axi_wready  => dma_wready, m_axi_bid     => dma_bid,
      m_axi_bresp   => dma_bresp, m_axi_bvalid  => dma_bvalid,
      m_axi_bready  => dma_bready, m_axi_arid    => dma_arid,
      m_axi_araddr  => dma_araddr, m_axi_arlen   => dma_arlen,
      m_axi_arsize  => dma_arsize, m_axi_arburst => dma_arburst,
      m_axi_arvalid => dma_arvalid, m_axi_arready => dma_arready,
      m_axi_rid     => dma_rid, m_axi_rdata   => dma_rdata,
      m_axi_rresp   => dma_rresp, m_axi_rlast   => dma_rlast,
      m_axi_rvalid  => dma_rvalid, m_axi_rready  => dma_rready
    );

end architecture;
