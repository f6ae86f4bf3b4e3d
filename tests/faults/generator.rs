//! Nasty input from a seed: what is almost right, which gets further in than noise does.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub(crate) struct Generator {
    seed: u64,
    state: u64,
    /// How seldom something is wrong with what it makes now.
    calm: usize,
}

/// Bytes that have meant something to somebody's parser.
const SPICE: [&[u8]; 24] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"%00",
    b"%2e%2e/",
    b"../",
    b"//",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"%",
    b"%zz",
    b";",
    b",",
    b"\"",
    b"'",
    b"\\",
    b"#",
    b"$(id)",
    b"`id`",
    b"{}",
    b"\t",
];

impl Generator {
    /// From `FAULTS_SEED`, else a new one for each run.
    pub(crate) fn new(what: &str) -> Generator {
        let given = std::env::var("FAULTS_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
            now.tv_nsec() as u64 ^ u64::from(std::process::id()) << 32
        });
        // Shown when the test fails, and with --nocapture.
        println!("{what}: FAULTS_SEED={seed}");
        Generator {
            seed,
            state: seed,
            calm: 1,
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// The same, for what spoils a head.
    fn odd(&mut self, n: usize) -> bool {
        self.one_in(n * self.calm)
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Some bytes, mostly short, of letters, spice and noise.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = match self.below(8) {
            0 => self.below(most),
            1..=3 => self.below(most.min(200)),
            _ => self.below(most.min(16)),
        };
        let mut bytes = Vec::new();
        while bytes.len() < length {
            match self.below(4) {
                0 => bytes.extend_from_slice(self.pick(&SPICE)),
                1 => bytes.push(self.next() as u8),
                _ => bytes.push(b'a' + self.below(26) as u8),
            }
        }
        bytes
    }

    /// The head of a request: a handshake in which some things are not as they should be.
    pub(crate) fn head(&mut self) -> Vec<u8> {
        // Some are wrong all over; most go wrong once, or not at all.
        self.calm = *self.pick(&[&1, &8, &40]);
        let end: &[u8] = if self.odd(12) { b"\n" } else { b"\r\n" };
        let mut head = Vec::new();
        let method = [
            "GET", "GET", "GET", "POST", "HEAD", "PRI", "OPTIONS", "CONNECT", "get",
        ];
        let method = if self.odd(2) {
            self.pick(&method)
        } else {
            "GET"
        };
        head.extend_from_slice(method.as_bytes());
        head.push(b' ');
        let target = [
            "/",
            "/x",
            "/first",
            "/stats",
            "/x/stats",
            "*",
            "http://x/y",
            "/health",
            "/api/rooms/",
        ];
        head.extend_from_slice(self.pick(&target).as_bytes());
        if self.odd(2) {
            head.extend(self.bytes(5000));
        }
        if self.odd(3) {
            head.push(b'?');
            head.extend(self.bytes(2000));
        }
        let version = [" HTTP/1.0", " HTTP/2.0", " HTTP/9.9", ""];
        let version = if self.odd(3) {
            self.pick(&version)
        } else {
            " HTTP/1.1"
        };
        head.extend_from_slice(version.as_bytes());
        head.extend_from_slice(end);
        let right: [&[u8]; 6] = [
            b"Host: x",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Origin: http://x",
        ];
        for line in right {
            match self.below(16 * self.calm) {
                0 => {}
                1 => {
                    let name = line
                        .iter()
                        .position(|&byte| byte == b':')
                        .unwrap_or_default();
                    head.extend_from_slice(&line[..=name]);
                    head.extend(self.bytes(300));
                    head.extend_from_slice(end);
                }
                2 => {
                    for _ in 0..2 {
                        head.extend_from_slice(line);
                        head.extend_from_slice(end);
                    }
                }
                _ => {
                    head.extend_from_slice(line);
                    head.extend_from_slice(end);
                }
            }
        }
        let more = if self.odd(20) { 200 } else { self.below(4) };
        for _ in 0..more {
            let name = [
                "X-Forwarded-For",
                "Forwarded",
                "Cookie",
                "Authorization",
                "Content-Length",
                "Transfer-Encoding",
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Extensions",
                "Expect",
                "X",
            ];
            if self.one_in(8) {
                head.extend(self.bytes(100));
            } else {
                head.extend_from_slice(self.pick(&name).as_bytes());
            }
            head.extend_from_slice(if self.odd(10) { b" :" } else { b": " });
            let value = [
                "chunked",
                "5",
                "-1",
                "permessage-deflate; client_max_window_bits=7",
                "100-continue",
                "Bearer a.b.c",
            ];
            if self.odd(2) {
                head.extend_from_slice(self.pick(&value).as_bytes());
            } else {
                let most = if self.odd(20) { 60_000 } else { 300 };
                head.extend(self.bytes(most));
            }
            head.extend_from_slice(end);
        }
        if !self.odd(10) {
            head.extend_from_slice(end);
        }
        if self.odd(10) {
            head.extend(self.bytes(300));
        }
        head
    }

    /// A frame, or something near one.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        if self.one_in(12) {
            return self.bytes(300);
        }
        let opcode = *self.pick(&[&0u8, &1, &1, &1, &2, &8, &9, &10, &3, &11]);
        let fin = if self.one_in(4) { 0 } else { 0x80 };
        let reserved = if self.one_in(12) {
            0x70 & self.next() as u8
        } else {
            0
        };
        let mask = (!self.one_in(12)).then(|| (self.next() as u32).to_be_bytes());
        let payload = self.message();
        let mut frame = crate::harness::encode(fin | reserved | opcode, mask, &payload);
        if self.one_in(12) && frame.len() > 1 {
            // Another length than there is: too long by far, or too short.
            frame[1] ^= 0x7f & self.next() as u8;
        }
        frame
    }

    /// What a message of some framing might be, or might not.
    fn message(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => {
                // A packet's header: id, type, length (u32 each, big endian).
                let mut packet = Vec::new();
                for most in [4, 4, 64] {
                    let number = if self.one_in(6) {
                        self.next() as u32
                    } else {
                        self.below(most) as u32
                    };
                    packet.extend(number.to_be_bytes());
                }
                packet.extend(self.bytes(64));
                packet
            }
            1 => {
                let deep = if self.one_in(10) {
                    5_000
                } else {
                    self.below(6)
                };
                let mut json = b"{\"id\":".repeat(deep);
                let value: [&[u8]; 8] = [
                    b"{\"id\":1}",
                    b"{\"id\":\"\\ud800\"}",
                    b"[1e999]",
                    b"{\"\\u0069d\":-0}",
                    b"null",
                    b"{\"id\":1,\"id\":2}",
                    b"{\"_to\":[1,2,18446744073709551616]}",
                    b"{\"a\":\"",
                ];
                json.extend_from_slice(self.pick(&value));
                json.extend(b"}".repeat(deep));
                json
            }
            _ => self.bytes(3_000),
        }
    }
}

#[test]
fn a_seed_says_the_same_twice() {
    let told = |seed| {
        let mut generator = Generator {
            seed,
            state: seed,
            calm: 1,
        };
        let mut told = generator.head();
        (0..100).for_each(|_| told.extend(generator.frame()));
        told
    };
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}
