-- Prosody in docker-compose.yml. Hosts come from the environment, secrets from files.

local function secret(name)
	local file = assert(io.open((os.getenv("SECRETS") or "/run/secrets") .. "/" .. name));
	local line = file:read("*l");
	file:close();
	return line;
end

local domain = assert(os.getenv("XMPP_DOMAIN"), "XMPP_DOMAIN is missing");

-- Your certificate for the domain if there is one, or the one created at the first start.
local function certificates_folder()
	local yours = "/etc/prosody/certs/" .. domain;
	for _, name in ipairs({ ".crt", ".pem", "/fullchain.pem" }) do
		local file = io.open(yours .. name);
		if file then
			file:close();
			return "/etc/prosody/certs";
		end
	end
	return "/var/lib/prosody/certs";
end

log = { { levels = { min = "info" }; to = "console" } };
pidfile = "/run/prosody/prosody.pid";
certificates = certificates_folder();
plugin_paths = { "/usr/local/lib/prosody/modules" };

-- Components: only from the compose file's own network; the port is not published.
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
-- storage_archive_item_limit stays unset: Prosody counts rows in a cache that does not notice deletions by
-- others.
archive_expires_after = "1y"; -- the backstop for unmarked messages

ephemerd_component = "ephemerd." .. domain;

VirtualHost(domain)
	modules_enabled = { "ephemerd" };

Component("conference." .. domain, "muc")
	modules_enabled = { "muc_mam"; "ephemerd" };

Component("ephemerd." .. domain)
	component_secret = secret("component");
	-- With one daemon: after a silent network failure its new connection replaces the old one.
	component_conflict_resolve = "kick_old";
