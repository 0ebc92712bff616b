/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The functions of NaCl that libzmq calls for CURVE, under names of our own:
 * .cargo/config.toml renames the calls, so that a program with a NaCl or
 * libsodium of its own keeps that one apart. They are here and not in Rust
 * because a shared library exports every `no_mangle` function of Rust.
 *
 * The interface is NaCl's: messages begin with 32 zero bytes, boxes with 16,
 * and lengths count these.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

typedef unsigned char u8;
typedef unsigned long long u64;

/* What Rust does, see src/lib.rs. */
struct acc_nacl_ops {
    void (*public_key)(u8 *public_key, const u8 *secret_key);
    int (*shared_key)(u8 *key, const u8 *public_key, const u8 *secret_key);
    int (*seal)(u8 *box, const u8 *message, u64 bytes, const u8 *nonce, const u8 *key);
    int (*open)(u8 *message, const u8 *box, u64 bytes, const u8 *nonce, const u8 *key);
};

static struct acc_nacl_ops ops;

void acc_nacl_install(const struct acc_nacl_ops *given)
{
    ops = *given;
}

/* Keys that can be guessed are worse than no process. */
void acc_nacl_randombytes(u8 *bytes, u64 count)
{
    while (count > 0) {
        size_t want = count < 256 ? (size_t)count : 256;
        ssize_t got = getrandom(bytes, want, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            abort();
        }
        bytes += got;
        count -= (u64)got;
    }
}

int acc_nacl_randombytes_close(void)
{
    return 0;
}

int acc_nacl_sodium_init(void)
{
    return 0;
}

int acc_nacl_scalarmult_base(u8 *public_key, const u8 *secret_key)
{
    if (!ops.public_key)
        return -1;
    ops.public_key(public_key, secret_key);
    return 0;
}

int acc_nacl_box_keypair(u8 *public_key, u8 *secret_key)
{
    acc_nacl_randombytes(secret_key, 32);
    return acc_nacl_scalarmult_base(public_key, secret_key);
}

int acc_nacl_box_beforenm(u8 *key, const u8 *public_key, const u8 *secret_key)
{
    return ops.shared_key ? ops.shared_key(key, public_key, secret_key) : -1;
}

int acc_nacl_secretbox(u8 *box, const u8 *message, u64 bytes, const u8 *nonce, const u8 *key)
{
    return ops.seal ? ops.seal(box, message, bytes, nonce, key) : -1;
}

int acc_nacl_secretbox_open(u8 *message, const u8 *box, u64 bytes, const u8 *nonce, const u8 *key)
{
    return ops.open ? ops.open(message, box, bytes, nonce, key) : -1;
}

int acc_nacl_box_afternm(u8 *box, const u8 *message, u64 bytes, const u8 *nonce, const u8 *key)
{
    return acc_nacl_secretbox(box, message, bytes, nonce, key);
}

int acc_nacl_box_open_afternm(u8 *message, const u8 *box, u64 bytes, const u8 *nonce, const u8 *key)
{
    return acc_nacl_secretbox_open(message, box, bytes, nonce, key);
}

int acc_nacl_box(u8 *box, const u8 *message, u64 bytes, const u8 *nonce, const u8 *public_key,
                 const u8 *secret_key)
{
    u8 key[32];
    int result = acc_nacl_box_beforenm(key, public_key, secret_key);
    if (result == 0)
        result = acc_nacl_secretbox(box, message, bytes, nonce, key);
    explicit_bzero(key, sizeof key);
    return result;
}

int acc_nacl_box_open(u8 *message, const u8 *box, u64 bytes, const u8 *nonce, const u8 *public_key,
                      const u8 *secret_key)
{
    u8 key[32];
    int result = acc_nacl_box_beforenm(key, public_key, secret_key);
    if (result == 0)
        result = acc_nacl_secretbox_open(message, box, bytes, nonce, key);
    explicit_bzero(key, sizeof key);
    return result;
}
