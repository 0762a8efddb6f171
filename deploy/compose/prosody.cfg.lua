-- Prosody in docker-compose.yml. Hosts come from the environment, secrets from files.

local function secret(name)
	local file = assert(io.open((os.getenv("SECRETS") or "/run/secrets") .. "/" .. name));
	local line = file:read("*l");
	file:close();
	return line;
end

local domain = assert(os.getenv("XMPP_DOMAIN"), "XMPP_DOMAIN is missing");

log = { { levels = { min = "info" }; to = "console" } };
pidfile = "/run/prosody/prosody.pid";
certificates = "/etc/prosody/certs";
plugin_paths = { "/usr/local/lib/prosody/modules" };

-- Components: only from the compose file's own network, no port of it is published.
component_interfaces = { "*" };

authentication = "internal_hashed";
storage = "sql";
sql = {
	driver = "PostgreSQL";
	host = os.getenv("XMPP_DATABASE_HOST") or "postgres";
	port = tonumber(os.getenv("XMPP_DATABASE_PORT") or 5432);
	database = "prosody";
	username = "prosody";
	password = secret("xmpp-database");
};

modules_enabled = {
	"roster"; "saslauth"; "tls"; "dialback"; "disco"; "ping"; "pep"; "blocklist"; "carbons"; "smacks"; "csi_simple";
	"mam"; "offline"; "cron";
};
-- storage_archive_item_limit stays unset: Prosody counts its rows in a cache that others' deletions do not reach.
archive_expires_after = "1y"; -- the backstop for what carries no timer

ephemerd_component = "ephemerd." .. domain;

VirtualHost(domain)
	modules_enabled = { "ephemerd" };

Component("conference." .. domain, "muc")
	modules_enabled = { "muc_mam"; "ephemerd" };

Component("ephemerd." .. domain)
	component_secret = secret("component");
	-- One daemon: where the network fell silent, its new connection takes the place of the old.
	component_conflict_resolve = "kick_old";
