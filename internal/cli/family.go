package cli

import (
	"log/slog"
	"strconv"
	"strings"
)

// portFromEnv takes a port on all addresses from the environment, unless the flag was given.
func (e *Env) portFromEnv(key, flag string, given func(string) bool, addr *string) error {
	v := e.Getenv(key)
	if v == "" || given(flag) {
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 65535 {
		return fail(codeUsage, "set it to a port, 0 to 65535, or unset it and use --"+flag, "%s is %q, which is no port", key, v)
	}
	*addr = ":" + strconv.Itoa(n)
	return nil
}

// Settings of the environment that other deployments of the family know and this version does not
// honour. Those that close something refuse the start: to ignore them would leave it open.
var (
	closingSettings = []string{"JWT_SECRET_KEY", "GATEWAY_RATE_LIMIT_ENABLED", "GATEWAY_RATE_LIMIT_PERMITS", "GATEWAY_RATE_LIMIT_WINDOW_SECONDS"}
	ignoredSettings = []string{"CONSUL_ADDRESS", "RABBITMQ_URL", "JWT_ISSUER", "JWT_AUDIENCE", "GATEWAY_ROUTE_REFRESH_SECONDS",
		"GATEWAY_CORS_ALLOW_ANY_ORIGIN", "GATEWAY_CORS_ALLOWED_ORIGINS", "GATEWAY_RETRY_COUNT",
		"MESH_SERVICE_AUTH_SECRET", "MESH_SERVICE_AUTH_ISSUER", "MESH_SERVICE_AUTH_AUDIENCE"}
)

func (e *Env) unhonoured(log *slog.Logger) error {
	limits := !strings.EqualFold(e.Getenv("GATEWAY_RATE_LIMIT_ENABLED"), "false")
	for _, key := range closingSettings {
		if e.Getenv(key) == "" || strings.HasPrefix(key, "GATEWAY_RATE_LIMIT_") && !limits {
			continue
		}
		return fail(codeUsage, "unset it to start without what it protects", "%s is set, and this version cannot honour it", key)
	}
	for _, key := range ignoredSettings {
		if e.Getenv(key) != "" {
			log.Warn("setting of the environment is not honoured by this version", "setting", key)
		}
	}
	return nil
}
