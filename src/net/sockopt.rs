//! Socket options that are whole numbers and that no library has by name.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsRawFd;

/// Sets the `option` of this `level`.
///
/// # Errors
///
/// Those of setsockopt(2).
#[expect(unsafe_code, reason = "no safe call sets these options")]
pub(crate) fn set(
    socket: &impl AsRawFd,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads as many bytes as it is told, from an int that lives for longer.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
