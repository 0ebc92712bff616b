// SPDX-License-Identifier: MIT OR Apache-2.0

//! `accelerator-vfio-user SOCKET`: the function of this crate, for one client after another.

use std::{path::Path, process::ExitCode};

use accelerator_vfio_user::{server, Function};

const HELP: &str = "\
A PCI function with a few registers and an MSI-X vector, for QEMU's vfio-user-pci.

Usage: accelerator-vfio-user SOCKET

Makes the socket, says \"listening\", and serves one client after another until it is ended.
QEMU 10.1 or newer:

  qemu-system-x86_64 -M q35,memory-backend=ram \\
      -object memory-backend-memfd,id=ram,size=256M,share=on -m 256 \\
      -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"SOCKET\"}}' ...
";

fn serve(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let server = server(socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    println!("listening");
    loop {
        let mut function = Function::new()?;
        match server.run(&mut function) {
            Ok(()) => {}
            Err(e @ vfio_user::Error::SocketAccept(_)) => return Err(e.into()),
            Err(e) => eprintln!("accelerator-vfio-user: the client is given up: {e}"),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match &args[..] {
        [help] if help == "--help" || help == "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [socket] if !socket.as_encoded_bytes().starts_with(b"-") => match serve(socket.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("accelerator-vfio-user: {e}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}
