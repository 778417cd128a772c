//! The secured broker of `infra/components/secure.sh`, a front of the registry, a Connect worker, and our
//! programs with the user of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use schemas::topic::Topic;
use tests::support::connect::Sinks;
use tests::support::installation::Member;
use tests::support::stack::root;
use tests::support::{Process, Stack, wait_until};

/// Who may use the registry.
const LOGIN: &str = "registry:secret";
/// A front of the registry listens within this time.
const FRONT: Duration = Duration::from_secs(30);

/// The server that a client meets, and the authority that it trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls {
    /// The broker, and its authority.
    Trusted,
    /// Somebody with an expired certificate of that authority.
    Expired,
    /// The broker, and the public authorities only.
    Public,
}

/// Where the registry is, and how it is asked.
pub(crate) struct Registry(Vec<String>);

/// All of it. Dropped, the broker and the worker are stopped.
pub(crate) struct Scene {
    stack: Stack,
    prefix: String,
    /// Of this test.
    folder: PathBuf,
    /// Of the secured broker.
    secure: PathBuf,
    port: u16,
    front: Front,
    expired: Front,
    started: AtomicU32,
}

/// A server of `front.py`, which ends with its process.
struct Front {
    _process: Process,
    port: String,
}

impl Front {
    fn start(folder: &Path, name: &str, certificate: &Path, target: &str) -> Result<Self> {
        let script = root().join("tests/security/front.py");
        let mut by = Command::new("python3");
        by.arg(script).arg(certificate);
        let arguments = [LOGIN.to_owned(), target.to_owned()];
        let mut process = Process::start_by(by, "front.py", &arguments, folder, name)?;
        let port = wait_until("the front of the registry", FRONT, || {
            process.alive()?;
            let text = fs::read_to_string(folder.join(format!("{name}.out")))?;
            Ok(text.strip_suffix('\n').map(str::to_owned))
        })?;
        Ok(Self { _process: process, port })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Scene {
    /// With the ACLs in force, and without topics.
    pub(crate) fn start() -> Result<Self> {
        let stack = Stack::up()?;
        let run = std::env::var_os("RUN_DIR").map_or(root().join(".run"), PathBuf::from);
        let port = std::env::var("KAFKA_SECURE_PORT").unwrap_or_else(|_| "9492".into()).parse()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let prefix = format!("test-security-{now:x}.");
        let folder = root().join(".run/test").join(&prefix);
        fs::create_dir_all(&folder)?;
        let secure = run.join("secure");
        stack.script("stack.sh", &["start", "secure"], &[])?;
        let certificates = secure.join("certificates");
        let expired = folder.join("expired");
        fs::create_dir_all(&expired)?;
        for file in ["ca.crt", "ca.key"] {
            fs::copy(certificates.join(file), expired.join(file))?;
        }
        stack.script("certificates.sh", &[&text(&expired), "-1"], &[])?;
        let target = stack.registry.clone();
        let front = Front::start(&folder, "front", &certificates.join("broker.pem"), &target)?;
        let expired = Front::start(&folder, "expired", &expired.join("broker.pem"), &target)?;
        let started = AtomicU32::default();
        let scene = Self { stack, prefix, folder, secure, port, front, expired, started };
        scene.stack.script(
            "acls.sh",
            &[],
            &[
                ("BOOTSTRAP_SERVERS", &scene.servers(Tls::Trusted)),
                ("KAFKA_CLIENT_FILE", &text(&scene.secure.join("admin.properties"))),
                ("TOPIC_PREFIX", &scene.prefix),
                ("APPLICATION_ID", &scene.application_id()),
            ],
        )?;
        Ok(scene)
    }

    /// The name of a topic here.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        topic.name(&self.prefix)
    }

    fn application_id(&self) -> String {
        format!("{}processor", self.prefix)
    }

    fn servers(&self, tls: Tls) -> String {
        match tls {
            Tls::Trusted | Tls::Public => format!("127.0.0.1:{}", self.port),
            Tls::Expired => format!("127.0.0.1:{}", self.expired.port),
        }
    }

    fn authority(&self) -> String {
        text(&self.secure.join("certificates/ca.crt"))
    }

    /// The flags of a user; `nobody` is one with a wrong password.
    fn kafka(&self, user: &str, tls: Tls) -> Result<Vec<String>> {
        let (user, password) = match user {
            "nobody" => ("processor", "wrong".to_owned()),
            user => (user, fs::read_to_string(self.secure.join("password"))?),
        };
        let mut settings = vec![
            "security.protocol=SASL_SSL".into(),
            "sasl.mechanism=SCRAM-SHA-512".into(),
            format!("sasl.username={user}"),
            format!("sasl.password={}", password.trim()),
        ];
        if !matches!(tls, Tls::Public) {
            settings.push(format!("ssl.ca.location={}", self.authority()));
        }
        let mut flags = vec!["--bootstrap-servers".into(), self.servers(tls)];
        flags.extend(["--topic-prefix".into(), self.prefix.clone()]);
        flags.extend(settings.into_iter().flat_map(|setting| ["--kafka".into(), setting]));
        Ok(flags)
    }

    /// The registry's front as this user, with or without its authority.
    pub(crate) fn registry(&self, login: &str, ca: bool) -> Registry {
        let url = format!("https://127.0.0.1:{}/apis/ccompat/v7", self.front.port);
        let mut flags = vec!["--schema-registry-url".into(), url];
        flags.extend(["--schema-registry-user".into(), login.to_owned()]);
        if ca {
            flags.extend(["--schema-registry-ca".into(), self.authority()]);
        }
        Registry(flags)
    }

    fn run(&self, program: &str, command: &[&str], more: &[&[String]]) -> Result<Process> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let command = command.iter().map(|&word| word.to_owned());
        let arguments: Vec<String> = command.chain(more.concat()).collect();
        let name = format!("{number:02}-{program}-{}", arguments[0]);
        Process::start(program, &arguments, &self.folder, &name)
    }

    /// `processor topics create`.
    pub(crate) fn topics(&self, user: &str, tls: Tls) -> Result<Process> {
        self.run("processor", &["topics", "create"], &[&self.kafka(user, tls)?])
    }

    /// `producer load`.
    pub(crate) fn load(&self, user: &str, tls: Tls, arguments: &[&str]) -> Result<Process> {
        let command = [&["load"], arguments].concat();
        let registry = self.registry(LOGIN, true);
        self.run("producer", &command, &[&self.kafka(user, tls)?, &registry.0])
    }

    /// The same with another way to the registry.
    pub(crate) fn load_from(&self, user: &str, registry: &Registry) -> Result<Process> {
        let kafka = self.kafka(user, Tls::Trusted)?;
        self.run("producer", &["load", "--events", "10"], &[&kafka, &registry.0])
    }

    fn run_member(
        &self,
        kafka: &[String],
        registry: &Registry,
        state: &str,
        arguments: &[&str],
    ) -> Result<Process> {
        let state = text(&self.folder.join("state").join(state));
        let application = self.application_id();
        let own = ["run", "--state-dir", &state, "--listen", "127.0.0.1:0"];
        let named = ["--application-id", &application];
        let named = if arguments.contains(&"--application-id") { &[][..] } else { &named };
        self.run("processor", &[&own, named, arguments].concat(), &[kafka, &registry.0])
    }

    /// `processor run`, whatever becomes of it.
    pub(crate) fn member_process(
        &self,
        user: &str,
        tls: Tls,
        state: &str,
        arguments: &[&str],
    ) -> Result<Process> {
        let registry = self.registry(LOGIN, true);
        self.run_member(&self.kafka(user, tls)?, &registry, state, arguments)
    }

    /// The same with another way to the registry.
    pub(crate) fn member_from(&self, user: &str, registry: &Registry) -> Result<Process> {
        self.run_member(&self.kafka(user, Tls::Trusted)?, registry, "refused", &[])
    }

    /// `processor run` that is meant to work.
    pub(crate) fn member(&self, user: &str, state: &str, arguments: &[&str]) -> Result<Member> {
        Ok(Member { process: self.member_process(user, Tls::Trusted, state, arguments)? })
    }

    /// `processor serve`, whatever becomes of it.
    pub(crate) fn view_process(&self, user: &str, tls: Tls) -> Result<Process> {
        let state = text(&self.folder.join("state/view"));
        let own = ["serve", "--state-dir", &state, "--listen", "127.0.0.1:0"];
        let registry = self.registry(LOGIN, true);
        self.run("processor", &own, &[&self.kafka(user, tls)?, &registry.0])
    }

    /// `processor serve` that is meant to work.
    pub(crate) fn view(&self, user: &str) -> Result<Member> {
        Ok(Member { process: self.view_process(user, Tls::Trusted)? })
    }

    /// `processor pairs end` of a pair of the load, asked of the reader at this address.
    pub(crate) fn end_pair(&self, user: &str, tls: Tls, address: &str) -> Result<Process> {
        let url = format!("http://{address}");
        let command = ["pairs", "end", "L00000-USD@load", "--yes", "--url", &url];
        self.run("processor", &command, &[&self.kafka(user, tls)?, &self.registry(LOGIN, true).0])
    }

    /// A Connect worker with the sink of `latest`.
    pub(crate) fn connect(&self) -> Result<Sinks> {
        let port = (self.port + 2).to_string();
        let store = text(&self.folder.join("ca.p12"));
        let imported = Command::new("keytool")
            .args(["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12"])
            .args(["-storepass", "changeit", "-keystore", &store, "-file", &self.authority()])
            .output()
            .context("keytool is part of Java: make install")?;
        ensure!(imported.status.success(), "{imported:?}");
        let mut settings = fs::read_to_string(self.secure.join("worker.properties"))?;
        let (user, password) = LOGIN.split_once(':').context("a login")?;
        for (name, value) in [
            ("apicurio.auth.username", user),
            ("apicurio.auth.password", password),
            ("apicurio.registry.request.ssl.truststore.location", &store),
            ("apicurio.registry.request.ssl.truststore.type", "PKCS12"),
            ("apicurio.registry.request.ssl.truststore.password", "changeit"),
        ] {
            for converter in ["key", "value"] {
                settings.extend([converter, ".converter.", name, "=", value, "\n"]);
            }
        }
        let file = self.folder.join("worker.properties");
        fs::write(&file, settings)?;
        let (file, client) = (text(&file), text(&self.secure.join("connect.properties")));
        let (run, servers) = (text(&self.folder.join("run")), self.servers(Tls::Trusted));
        let cache = std::env::var("CACHE_DIR").unwrap_or_else(|_| text(&root().join(".run/cache")));
        let registry = format!("https://127.0.0.1:{}", self.front.port);
        let variables = [
            ("RUN_DIR", run.as_str()),
            ("CACHE_DIR", &cache),
            ("CONNECT_PORT", &port),
            ("BOOTSTRAP_SERVERS", &servers),
            ("REGISTRY_URL", &registry),
            ("WORKER_SETTINGS", &file),
            ("KAFKA_CLIENT_FILE", &client),
        ];
        let mut stack = self.stack.clone();
        stack.connect = format!("http://127.0.0.1:{port}");
        stack.script("stack.sh", &["start", "connect"], &variables)?;
        Sinks::register_at(&stack, &self.prefix, &[Topic::Latest], &variables)
    }

    /// The last of a test that went well: its logs are not needed.
    pub(crate) fn finish(self) -> Result<()> {
        let folder = self.folder.clone();
        drop(self);
        Ok(fs::remove_dir_all(folder)?)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A failure to tidy up must not hide the failure that led here.
        let run = text(&self.folder.join("run"));
        let _ = self.stack.script("stack.sh", &["stop", "connect"], &[("RUN_DIR", &run)]);
        let _ = self.stack.script("stack.sh", &["stop", "secure"], &[]);
    }
}
