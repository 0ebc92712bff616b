// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cryptography of ZeroMQ's CURVE, for the libzmq that cargo compiles.
//!
//! The crate `zmq-sys` compiles libzmq without a cryptographic library and so
//! without CURVE. `.cargo/config.toml` has it compiled with CURVE in the form
//! that calls a few functions of NaCl, and this crate has these: X25519 and
//! XSalsa20-Poly1305 of `curve25519-dalek` and RustCrypto, behind C functions
//! with names of our own (`nacl.c`). So the static library needs nothing more
//! on the linker's command line than without CURVE.
//!
//! Every program that links this libzmq has to link this crate too. Sockets get
//! keys with [`serve`] and [`connect`].

mod zap;

use std::{ffi::c_int, slice, sync::Once};

use accelerator_protocol::keys::{Key as CurveKey, Pair};

use crypto_secretbox::{
    aead::{AeadInPlace, KeyInit},
    Key, Nonce, Tag, XSalsa20Poly1305,
};
use curve25519_dalek::MontgomeryPoint;
use salsa20::{cipher::consts::U10, hsalsa};

/// Zero bytes in front of a message.
const MESSAGE_ZEROS: usize = 32;
/// Zero bytes in front of a box, before the 16 of the tag.
const BOX_ZEROS: usize = 16;

#[repr(C)]
struct Ops {
    public_key: unsafe extern "C" fn(*mut u8, *const u8),
    shared_key: unsafe extern "C" fn(*mut u8, *const u8, *const u8) -> c_int,
    seal: unsafe extern "C" fn(*mut u8, *const u8, u64, *const u8, *const u8) -> c_int,
    open: unsafe extern "C" fn(*mut u8, *const u8, u64, *const u8, *const u8) -> c_int,
}

extern "C" {
    fn acc_nacl_install(ops: *const Ops);
}

/// Makes the functions that libzmq calls work. Cheap when done already.
pub fn install() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let ops = Ops {
            public_key: c_public_key,
            shared_key: c_shared_key,
            seal: c_seal,
            open: c_open,
        };
        // SAFETY: the struct is the one that `nacl.c` declares, and is copied.
        // No socket has keys yet, so nobody reads the copy meanwhile.
        unsafe { acc_nacl_install(&ops) };
    });
}

/// What a socket with keys asks of libzmq.
///
/// # Errors
///
/// A text that says what to do.
fn ready() -> Result<(), String> {
    if zmq::has("curve") != Some(true) {
        return Err(
            "the libzmq in this program was compiled without CURVE: run cargo inside the \
             repository, whose .cargo/config.toml turns it on"
                .into(),
        );
    }
    install();
    Ok(())
}

/// Has a socket that will be bound take encrypted connections only, and of
/// these only those whose public key is among `clients`. Once for a context.
/// `refused` is called with the address and the key of another one.
///
/// # Errors
///
/// A text that says what libzmq or the system refused.
pub fn serve(
    context: &zmq::Context,
    socket: &zmq::Socket,
    pair: &Pair,
    clients: &[CurveKey],
    refused: impl FnMut(&str, &[u8]) + Send + 'static,
) -> Result<Guard, String> {
    ready()?;
    // With a domain, libzmq refuses everybody if nobody answers at the door.
    socket
        .set_zap_domain("accelerator-pcie")
        .and_then(|()| socket.set_curve_server(true))
        .and_then(|()| socket.set_curve_secretkey(&pair.secret))
        .map_err(|e| format!("cannot set the keys of a socket: {e}"))?;
    zap::start(context, clients.to_vec(), Box::new(refused))
}

/// Has a socket that will be connected prove who it is, and talk to nobody but
/// the owner of `server`.
///
/// # Errors
///
/// As for [`serve`].
pub fn connect(socket: &zmq::Socket, pair: &Pair, server: &CurveKey) -> Result<(), String> {
    ready()?;
    accelerator_socket::keys::connect(socket, pair, server)
        .map_err(|e| format!("cannot set the keys of a socket: {e}"))
}

pub use zap::Guard;

/// The public key that belongs to a secret one.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
}

/// A new pair, public and secret key.
///
/// # Errors
///
/// The system has no random numbers.
pub fn new_pair() -> std::io::Result<([u8; 32], [u8; 32])> {
    let mut secret = [0; 32];
    // SAFETY: the buffer is valid for its length, for which the system does
    // not deliver fewer bytes than asked for.
    let got = unsafe { libc::getrandom(secret.as_mut_ptr().cast(), secret.len(), 0) };
    if got != secret.len() as isize {
        return Err(std::io::Error::last_os_error());
    }
    Ok((public_key(&secret), secret))
}

/// The key that two parties share (`crypto_box_beforenm`). `None` for a public
/// key of small order, with which everybody would know it.
fn shared_key(public: &[u8; 32], secret: &[u8; 32]) -> Option<[u8; 32]> {
    let point = MontgomeryPoint(*public).mul_clamped(*secret);
    if point.0 == [0; 32] {
        return None;
    }
    let key = hsalsa::<U10>(&point.0.into(), &[0; 16].into());
    Some(key.into())
}

/// Encrypts in place; `text` is followed by nothing, the tag is returned.
fn seal(text: &mut [u8], nonce: &[u8; 24], key: &[u8; 32]) -> Option<[u8; 16]> {
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key));
    let tag = cipher.encrypt_in_place_detached(Nonce::from_slice(nonce), &[], text);
    Some(tag.ok()?.into())
}

/// Decrypts in place, if the tag is right.
fn open(text: &mut [u8], tag: &[u8; 16], nonce: &[u8; 24], key: &[u8; 32]) -> bool {
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key));
    let (nonce, tag) = (Nonce::from_slice(nonce), Tag::from_slice(tag));
    cipher
        .decrypt_in_place_detached(nonce, &[], text, tag)
        .is_ok()
}

/// # Safety
///
/// Both are valid for 32 bytes.
unsafe extern "C" fn c_public_key(public: *mut u8, secret: *const u8) {
    // SAFETY: as the caller promises.
    unsafe { *public.cast::<[u8; 32]>() = public_key(&*secret.cast()) }
}

/// # Safety
///
/// All are valid for 32 bytes.
unsafe extern "C" fn c_shared_key(key: *mut u8, public: *const u8, secret: *const u8) -> c_int {
    // SAFETY: as the caller promises.
    match shared_key(unsafe { &*public.cast() }, unsafe { &*secret.cast() }) {
        Some(shared) => {
            // SAFETY: as the caller promises.
            unsafe { *key.cast::<[u8; 32]>() = shared };
            0
        }
        None => -1,
    }
}

/// # Safety
///
/// `sealed` and `message` are valid for `bytes`, the nonce for 24, the key for
/// 32 bytes.
unsafe extern "C" fn c_seal(
    sealed: *mut u8,
    message: *const u8,
    bytes: u64,
    nonce: *const u8,
    key: *const u8,
) -> c_int {
    let bytes = bytes as usize;
    if bytes < MESSAGE_ZEROS {
        return -1;
    }
    // SAFETY: as the caller promises; `copy` allows that they overlap, and the
    // message is not used any more once the slice exists.
    let (sealed, nonce, key) = unsafe {
        std::ptr::copy(message, sealed, bytes);
        (
            slice::from_raw_parts_mut(sealed, bytes),
            &*nonce.cast(),
            &*key.cast(),
        )
    };
    let (front, text) = sealed.split_at_mut(MESSAGE_ZEROS);
    let Some(tag) = seal(text, nonce, key) else {
        return -1;
    };
    front[..BOX_ZEROS].fill(0);
    front[BOX_ZEROS..].copy_from_slice(&tag);
    0
}

/// # Safety
///
/// As for [`c_seal`].
unsafe extern "C" fn c_open(
    message: *mut u8,
    sealed: *const u8,
    bytes: u64,
    nonce: *const u8,
    key: *const u8,
) -> c_int {
    let bytes = bytes as usize;
    if bytes < MESSAGE_ZEROS {
        return -1;
    }
    // SAFETY: as in `c_seal`.
    let (message, nonce, key) = unsafe {
        std::ptr::copy(sealed, message, bytes);
        (
            slice::from_raw_parts_mut(message, bytes),
            &*nonce.cast(),
            &*key.cast(),
        )
    };
    let (front, text) = message.split_at_mut(MESSAGE_ZEROS);
    let mut tag = [0; 16];
    tag.copy_from_slice(&front[BOX_ZEROS..]);
    front.fill(0);
    if open(text, &tag, nonce, key) {
        0
    } else {
        text.fill(0);
        -1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    fn key(text: &str) -> [u8; 32] {
        hex(text).try_into().unwrap()
    }

    // Vectors of "Cryptography in NaCl" (D. J. Bernstein), sections 2 to 8.
    #[test]
    fn vectors_of_nacl() {
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let alice_public = key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let bob_public = key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(public_key(&bob), bob_public);
        let shared = shared_key(&alice_public, &bob).unwrap();
        assert_eq!(
            shared,
            key("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
        );
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let text = hex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc
             e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31
             0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde
             048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864
             5e0705",
        );
        let expected = hex(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce
             48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972
             71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae
             90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3
             7973f622a43d14a6599b1f654cb45a74e355a5",
        );
        let message = [vec![0; MESSAGE_ZEROS], text].concat();
        let mut sealed = vec![0xaa; message.len()];
        let bytes = message.len() as u64;
        // SAFETY: all buffers have the lengths that the functions want.
        unsafe {
            let (m, n, k) = (message.as_ptr(), nonce.as_ptr(), shared.as_ptr());
            assert_eq!(c_seal(sealed.as_mut_ptr(), m, bytes, n, k), 0);
            assert_eq!(sealed[..BOX_ZEROS], [0; BOX_ZEROS]);
            assert_eq!(sealed[BOX_ZEROS..], expected);
            let mut opened = vec![0xaa; message.len()];
            let mut result = |sealed: &[u8]| {
                let code = c_open(opened.as_mut_ptr(), sealed.as_ptr(), bytes, n, k);
                (code, opened.clone())
            };
            assert_eq!(result(&sealed), (0, message.clone()));
            // Any bit of tag or text that changes is noticed, and nothing of the
            // text comes out.
            for i in BOX_ZEROS..sealed.len() {
                sealed[i] ^= 1 << (i % 8);
                assert_eq!(result(&sealed), (-1, vec![0; message.len()]), "byte {i}");
                sealed[i] ^= 1 << (i % 8);
            }
            for short in 0..MESSAGE_ZEROS as u64 {
                assert_eq!(c_seal(sealed.as_mut_ptr(), m, short, n, k), -1);
            }
        }
    }

    /// With such a key the secret would not be one.
    #[test]
    fn keys_of_small_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let order_eight = key("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
        for public in [[0; 32], one, order_eight] {
            assert_eq!(shared_key(&public, &[7; 32]), None);
        }
    }

    #[test]
    fn pairs_are_new_each_time() {
        let (a, b) = (new_pair().unwrap(), new_pair().unwrap());
        assert_ne!(a, b);
        assert_eq!(public_key(&a.1), a.0);
        // What libzmq makes of itself goes through the same functions.
        install();
    }
}
