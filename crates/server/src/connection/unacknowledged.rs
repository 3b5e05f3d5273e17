//! How much of what was written to a TCP socket its peer has not acknowledged.
//!
//! One of the three modules of the crate with `unsafe`, beside `ticks.rs` and `prefetch.rs`: the kernel tells by an `ioctl` for which no crate has a safe function.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of tcp(7): bytes in the send queue, sent or not, that have not been acknowledged.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes written to the TCP socket that its peer's TCP has not acknowledged. Known after the connection has broken, too.
pub(super) fn bytes(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: for any descriptor, SIOCOUTQ either fails or writes one `int` to where its argument points; `Getter` points it
    // at a `c_int` of its own and reads that only if the call has succeeded.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use socket2::{SockFilter, SockRef};

    use super::*;

    #[test]
    fn what_has_not_been_acknowledged_is_known_also_when_the_peer_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(&[1; 1000]).unwrap();
        let began = Instant::now();
        while bytes(&socket).unwrap() != 0 {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        // From now on the peer's TCP sees nothing of what arrives.
        SockRef::from(&peer).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
        socket.write_all(&[2; 500]).unwrap();
        assert_eq!(bytes(&socket).unwrap(), 500);
        peer.read_exact(&mut [0; 1000]).unwrap();
        drop(peer);
        assert_eq!(
            socket.read(&mut [0]).unwrap(),
            0,
            "the end of the stream acknowledges no more than had come"
        );
        assert_eq!(bytes(&socket).unwrap(), 500);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        assert!(bytes(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
