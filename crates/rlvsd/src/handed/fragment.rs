//! Cutting packets (RFC 791 section 3.2, RFC 8200 section 4.5).

use rlvs_core::{
    native::frames,
    wire::{ethernet, ipv4, ipv6},
};

/// Bit of an IPv4 option's type: it belongs into every fragment.
const COPIED: u8 = 0x80;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MORE_FRAGMENTS: u16 = 0x2000;

/// The frames in which the packet in `frame` fits through a way that takes `mtu` bytes: none where there is no packet or no room,
/// the frame itself where it fits as it is.
pub fn cut(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let ethertype = frame.get(12..14).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let cut = match ethertype {
        Some(ethernet::TYPE_IPV4) => cut_v4(frame, mtu),
        Some(ethernet::TYPE_IPV6) => cut_v6(frame, mtu),
        _ => None,
    };
    cut.unwrap_or_default()
}

/// The parts of a payload that leave `room` bytes each, a multiple of 8 but for the last: offset in bytes, bytes, whether more
/// follow.
fn parts(payload: &[u8], room: usize) -> impl Iterator<Item = (usize, &[u8], bool)> {
    let step = room & !7;
    let count = payload.len().div_ceil(step.max(1));
    payload.chunks(step.max(1)).enumerate().map(move |(n, part)| (n * step, part, n + 1 < count))
}

fn cut_v4(frame: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let header_len = usize::from(*packet.first()? & 0xf) * 4;
    let header = packet.get(..header_len).filter(|header| header.len() >= ipv4::HEADER_LEN_MIN)?;
    let payload = packet.get(header_len..total)?;
    if total <= mtu {
        return Some(vec![frame.to_vec()]);
    }
    let room = mtu.checked_sub(header_len).filter(|room| *room >= 8)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let pieces = parts(payload, room).map(|(at, part, more)| {
        let mut header = header.to_vec();
        if at > 0 {
            keep_copied_options(&mut header[ipv4::HEADER_LEN_MIN..]);
        }
        header[2..4].copy_from_slice(&((header_len + part.len()) as u16).to_be_bytes());
        // A fragment that is cut again goes on from its own place.
        let more = if more { MORE_FRAGMENTS } else { fragment & MORE_FRAGMENTS };
        let word = more | ((fragment & 0x1fff) + (at / 8) as u16);
        header[6..8].copy_from_slice(&word.to_be_bytes());
        header[10..12].fill(0);
        let sum = !frames::sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&frame[..ethernet::HEADER_LEN], &header, part].concat()
    });
    Some(pieces.collect())
}

/// Later fragments carry only the options that say so; the others become nothing.
fn keep_copied_options(options: &mut [u8]) {
    let mut at = 0;
    while at < options.len() {
        let len = match options[at] {
            END_OF_OPTIONS => return,
            NO_OPERATION => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(0)),
        };
        let Some(option) = options.get_mut(at..at + len).filter(|option| !option.is_empty()) else { return };
        if option[0] & COPIED == 0 {
            option.fill(NO_OPERATION);
        }
        at += len;
    }
}

fn cut_v6(frame: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    const FRAGMENT_HEADER_LEN: usize = size_of::<ipv6::Fragment>();
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let header = packet.get(..ipv6::HEADER_LEN)?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = packet.get(ipv6::HEADER_LEN..ipv6::HEADER_LEN + len)?;
    if ipv6::HEADER_LEN + len <= mtu {
        return Some(vec![frame.to_vec()]);
    }
    let room = mtu.checked_sub(ipv6::HEADER_LEN + FRAGMENT_HEADER_LEN).filter(|room| *room >= 8)?;
    let id: [u8; 4] = (std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), payload) as u32).to_be_bytes();
    let pieces = parts(payload, room).map(|(at, part, more)| {
        let mut header = header.to_vec();
        let next = std::mem::replace(&mut header[6], ipv6::FRAGMENT);
        header[4..6].copy_from_slice(&((FRAGMENT_HEADER_LEN + part.len()) as u16).to_be_bytes());
        let offset = (at as u16 | u16::from(more)).to_be_bytes();
        let extension = [&[next, 0], &offset[..], &id[..]].concat();
        [&frame[..ethernet::HEADER_LEN], &header, &extension, part].concat()
    });
    Some(pieces.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(payload: &[u8], options: &[u8]) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x40 | (header_len / 4) as u8, 0]);
        frame.extend(((header_len + payload.len()) as u16).to_be_bytes());
        frame.extend([0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(options);
        frame.extend(payload);
        frame
    }

    proptest! {
        #[test]
        fn what_is_cut_is_whole_when_put_together(payload in proptest::collection::vec(any::<u8>(), 0..5000), mtu in 68usize..1500) {
            let pieces = cut(&v4(&payload, &[]), mtu);
            let mut together: Vec<u8> = vec![];
            for (n, piece) in pieces.iter().enumerate() {
                let packet = &piece[14..];
                prop_assert!(packet.len() <= mtu);
                let word = u16::from_be_bytes([packet[6], packet[7]]);
                prop_assert_eq!(usize::from(word & 0x1fff) * 8, together.len());
                prop_assert_eq!(word & MORE_FRAGMENTS != 0, n + 1 < pieces.len());
                prop_assert!(pieces.len() == 1 || frames::sum(&packet[..20]) == 0xffff);
                together.extend(&packet[20..]);
            }
            prop_assert_eq!(together, payload);
        }

        #[test]
        fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..300), mtu in 0usize..200, v6: bool) {
            let mut frame = bytes;
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
            }
            let _ = cut(&frame, mtu);
        }
    }

    #[test]
    fn only_copied_options_are_in_later_fragments() {
        // Record route (not copied), then router alert (copied).
        let options = [7, 7, 4, 1, 2, 3, 4, 0x94, 4, 0, 0, 1];
        let pieces = cut(&v4(&[9; 200], &options), 100);
        assert_eq!(pieces[0][34..46], options);
        assert_eq!(pieces[1][34..46], [1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 1]);
    }

    #[test]
    fn ipv6_gets_a_fragment_header() {
        let mut frame = vec![2; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0x0b, 0xb8, 17, 64]);
        frame.extend([0xfd; 32]);
        frame.extend((0..3000u32).map(|n| n as u8));
        let pieces = cut(&frame, 1500);
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() <= 1514 && piece[20] == 44 && piece[54] == 17));
        let payload: Vec<u8> = pieces.iter().flat_map(|piece| piece[62..].to_vec()).collect();
        assert_eq!(payload, frame[54..]);
    }
}
