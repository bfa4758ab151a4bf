//! What each transport puts around a message, in bytes. TLS, TCP and IP are the same for both, and left out.

/// Around the JSON of an event: its `id`, `event` and `data` lines (WHATWG HTML, section 9.2.6) within a chunk of its own
/// (RFC 9112, section 7.1). Over HTTP/2 the chunk's lines give way to the 9 bytes of a DATA frame's header.
pub fn of_event(name: &str, id: usize, json: usize) -> usize {
    let lines = "id: \n".len() + id + "event: \n".len() + name.len() + "data: \n\n".len();
    lines + chunk(lines + json)
}

/// The header of a frame from the server (RFC 6455, section 5.2). One from the browser has four more: the mask.
pub fn of_server_frame(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

/// The length in hexadecimal, and two line ends.
fn chunk(length: usize) -> usize {
    let digits = length.max(1).ilog(16) + 1;
    digits as usize + "\r\n\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_surrounded_by_its_lines_and_its_chunk() {
        let event = "id: k3-7\nevent: pulse\ndata: {}\n\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(of_event("pulse", "k3-7".len(), 2), chunk.len() - 2);
        assert_eq!(super::chunk(15), 5);
        assert_eq!(super::chunk(16), 6);
        assert_eq!(super::chunk(4_096), 8);
    }

    #[test]
    fn a_frames_header_grows_with_its_payload() {
        let headers = [0, 125, 126, 65_535, 65_536].map(of_server_frame);
        assert_eq!(headers, [2, 2, 4, 4, 10]);
    }
}
