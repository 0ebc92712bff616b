// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compiles the functions that libzmq calls. The whole of the archive is
//! linked, since libzmq may come after it on the linker's command line.

fn main() {
    println!("cargo:rerun-if-changed=src/nacl.c");
    println!("cargo:rerun-if-changed=src/accept.c");
    cc::Build::new()
        .file("src/nacl.c")
        .file("src/accept.c")
        .std("c99")
        .warnings(true)
        .extra_warnings(true)
        .link_lib_modifier("+whole-archive")
        .compile("acc_nacl");
}
