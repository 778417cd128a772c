//! Headless Chromium, spoken to by the protocol of its own tools.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::socket::Socket;
use super::wait::wait_until;

/// What a cold browser takes on a busy machine.
const START: Duration = Duration::from_mins(1);
/// What a page takes to show something on a busy machine.
const SHOW: Duration = Duration::from_mins(3);
/// Where browsers are called by these names.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The browser of this machine: `CHROMIUM`, or one in `PATH`.
pub fn installed() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|p| p.exists())
}

/// A browser with one page. Dropped, it is dead.
pub struct Browser {
    child: Child,
    page: Socket,
    asked: u64,
    /// What the page has complained of.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Starts `program` with its profile and its log in `folder`.
    pub fn start(program: &Path, folder: &Path) -> Result<Self> {
        let profile = folder.join("profile");
        fs::create_dir_all(&profile)?;
        let child = Command::new(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("browser.log"))?)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut child = Dying(Some(child));
        let port = wait_until("the browser to listen", START, || {
            let said = fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            Ok(said.lines().next().map(str::to_owned).filter(|port| !port.is_empty()))
        })?;
        let url = wait_until("the browser to have a page", START, || {
            let Ok(answer) = reqwest::blocking::get(format!("http://127.0.0.1:{port}/json/list"))
            else {
                return Ok(None);
            };
            let targets: Vec<Value> = answer.json()?;
            let page = targets.iter().find(|target| target["type"] == "page");
            Ok(page.and_then(|page| page["webSocketDebuggerUrl"].as_str().map(str::to_owned)))
        })?;
        let page = Socket::open(&url)?;
        let child = child.0.take().context("the browser was started")?;
        let mut browser = Self { child, page, asked: 0, complaints: Vec::new() };
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        self.page.say(&json!({ "id": id, "method": method, "params": parameters }))?;
        let Self { page, complaints, .. } = self;
        let complain = |event: Value| {
            let bad = match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
                _ => false,
            };
            if bad {
                complaints.push(event["params"].to_string());
            }
        };
        let mut answer = page.until(method, complain, |message| message["id"] == id)?;
        ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        Ok(answer["result"].take())
    }

    /// Opens a page in a window of that size.
    pub fn open(&mut self, url: &str, width: u32, height: u32) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size)?;
        self.call("Page.navigate", &json!({ "url": url }))?;
        Ok(())
    }

    /// Asks for a theme, as the system would.
    pub fn prefer(&mut self, theme: &str) -> Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }))?;
        Ok(())
    }

    /// The value of an expression on the page.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &ask)?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        Ok(answer["result"]["value"].take())
    }

    /// Presses and releases a key of this name, as a person would.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => bail!("no such key: {key}"),
        };
        for kind in ["rawKeyDown", "char", "keyUp"] {
            // Only Enter is also a character.
            let text = if key == "Enter" { "\r" } else { "" };
            if kind == "char" && text.is_empty() {
                continue;
            }
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// Waits until an expression on the page is true.
    pub fn until(&mut self, expression: &str) -> Result<()> {
        let shown = wait_until(expression, SHOW, || {
            // What it asks about may not be there yet.
            Ok(self.value(expression).is_ok_and(|value| value == true).then_some(()))
        });
        let text = self.value("document.body.innerText").unwrap_or_default();
        shown.with_context(|| format!("{:?}\nthe page says:\n{text}", self.complaints))
    }

    /// A picture of all of the page, as PNG.
    pub fn picture(&mut self, path: &Path) -> Result<()> {
        let shot = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", &shot)?;
        let text = answer["data"].as_str().context("no picture")?;
        let mut base64 = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(File::create(path)?)
            .spawn()?;
        base64.stdin.take().context("base64 reads")?.write_all(text.as_bytes())?;
        ensure!(base64.wait()?.success(), "base64 -d");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that does not outlive a start that fails.
struct Dying(Option<Child>);

impl Drop for Dying {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
