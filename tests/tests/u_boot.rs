//! Debian's OpenSBI and U-Boot run on `riscv-virt`: a scripted session.

use machines::boot::BootRequest;
use machines::catalog;
use machines::runner::Stopped;
use std::time::Instant;
use tests::session::{self, Session};
use xtask::Workspace;
use xtask::firmware;

/// The firmware, or `None` and a line in the log of skipped tests.
fn request(test: &str) -> Option<BootRequest> {
    let firmware = firmware::ensure(&Workspace::here());
    match firmware {
        Ok(firmware) => Some(BootRequest {
            firmware: Some(firmware.fw_jump),
            kernel: Some(firmware.u_boot),
            ..BootRequest::default()
        }),
        Err(error) => {
            tests::skip(test, &format!("{error:#}"));
            None
        }
    }
}

/// Stops the countdown and waits for the prompt.
fn prompt(session: &Session) {
    session.expect("Hit any key to stop autoboot");
    session.send("\n");
    session.expect("\n=> ");
}

#[test]
fn u_boot_session_on_riscv_virt() {
    let Some(request) = request("u_boot_session_on_riscv_virt") else { return };
    let start = Instant::now();
    let stopped = session::run(catalog::load("riscv-virt").unwrap(), &request, |session| {
        session.expect("OpenSBI");
        prompt(session);
        println!("U-Boot's prompt after {:.2} s", start.elapsed().as_secs_f64());

        session.command("mw.l 84000000 cafe1234 40");
        assert!(session.command("md.l 84000000 4").contains("cafe1234 cafe1234 cafe1234 cafe1234"));
        session.command("cp.l 84000000 84001000 40");
        let (there, copy) = (session.command("crc32 84000000 100"), session.command("crc32 84001000 100"));
        let sum = |text: &str| text.rsplit("==> ").next().unwrap()[..8].to_owned();
        assert_eq!(sum(&there), sum(&copy), "{there}{copy}");

        let info = session.command("flinfo");
        assert!(info.contains("Bank # 1") && info.contains("Bank # 2"), "{info}");
        assert!(
            info.contains("Size: 32 MB") && info.contains("cmdset 0x1") || info.contains("Intel"),
            "{info}"
        );
        assert!(session.command("protect off all").contains("Un-Protect Flash Bank # 2"));
        let erased = session.command("erase 22000000 +40000");
        assert!(erased.contains("done"), "{erased}");
        assert!(session.command("md.l 22000000 1").contains("ffffffff"));
        let copied = session.command("cp.b 84000000 22000000 100");
        assert!(copied.contains("done"), "{copied}");
        session.command("mw.b 84002000 0 100");
        session.command("cp.b 22000000 84002000 100");
        let back = session.command("crc32 84002000 100");
        assert_eq!(sum(&there), sum(&back), "{back}");
        assert!(session.command("cmp.b 84000000 22000000 100").contains("were the same"));
        session.send("poweroff\n");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}

#[test]
fn u_boot_resets_and_comes_back() {
    let Some(request) = request("u_boot_resets_and_comes_back") else { return };
    let stopped = session::run(catalog::load("riscv-virt").unwrap(), &request, |session| {
        prompt(session);
        session.send("reset\n");
        session.expect("OpenSBI");
        prompt(session);
        session.send("poweroff\n");
    });
    assert_eq!(stopped, Stopped::PoweredOff { code: 0 });
}
