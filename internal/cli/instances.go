package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func newRegister(env *Env) *cobra.Command {
	var r mesh.Registration
	var metadata []string
	c := &cobra.Command{
		Use:   "register --name NAME --address HOST --port PORT",
		Short: "Register an instance that is not started by toska run",
		Long: `Register an instance of a service that runs on its own, and print its id.

It stays registered, whether it answers or not, until "toska deregister ID". For a program that should
be registered only while it runs, use "toska run".`,
		Example: `  toska register --name orders --address 10.0.0.7 --port 8081
  toska register --name orders --id orders-blue --address 10.0.0.7 --port 8081 --metadata weight=3`,
		Args: cobra.NoArgs,
	}
	f := addFinder(c, env, identity.Admin)
	flags := c.Flags()
	flags.StringVar(&r.Service, "name", "", "name of the service (a DNS label)")
	flags.StringVar(&r.ID, "id", "", "id of the instance (default: one is made)")
	flags.StringVar(&r.Address, "address", "", "host name or IP address that the gateway can dial (default: this machine)")
	flags.IntVar(&r.Port, "port", 0, "port, 1 to 65535")
	flags.StringArrayVar(&metadata, "metadata", nil, "KEY=VALUE, may be repeated; weight and lb_strategy steer the gateway")
	must(c.MarkFlagRequired("name"))
	must(c.MarkFlagRequired("port"))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if r.Metadata, err = parseMetadata(metadata); err != nil {
			return err
		}
		r.Lifetime = mesh.Permanent
		return f.with(cmd.Context(), func(ctx context.Context, c Client, t target) error {
			inst, err := c.Register(ctx, r)
			if err != nil {
				return err
			}
			say(env.Stdout, "%s", inst.ID)
			if isTerminal(env.Stderr) && t.gateway != "" {
				say(env.Stderr, "%s is registered at %s; remove it with \"toska deregister %s\"", inst.Service, inst.HostPort(), inst.ID)
			}
			return nil
		})
	}
	return c
}

func newDeregister(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "deregister ID",
		Short: "Remove an instance",
		Long: `Remove an instance from the registry.

An instance that "toska run" or an SDK holds comes back: stop its program instead, or drain it.`,
		Example: `  toska deregister orders-blue`,
		Args:    exactlyOneID,
	}
	f := addFinder(c, env, identity.Admin)
	c.ValidArgsFunction = f.completeIDs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			return c.Deregister(ctx, mesh.Ref{ID: args[0]})
		})
	}
	return c
}

func newDrain(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "drain ID",
		Short: "Take an instance out of rotation and leave it registered",
		Long: `Take an instance out of rotation: it finishes what it has and is given nothing new.

It stays registered; its next registration puts it back.`,
		Example: `  toska drain orders-blue`,
		Args:    exactlyOneID,
	}
	f := addFinder(c, env, identity.Admin)
	c.ValidArgsFunction = f.completeIDs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
			return c.Drain(ctx, mesh.Ref{ID: args[0]})
		})
	}
	return c
}

func exactlyOneID(_ *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return fmt.Errorf("want one ID of an instance, have %d arguments; \"toska services\" lists the ids", len(args))
	}
	return nil
}

// completeIDs offers the ids that are registered now.
func (f *finder) completeIDs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	// Nothing to offer is no error: the shell is in the middle of a line.
	_ = f.with(cmd.Context(), func(ctx context.Context, c Client, _ target) error {
		snap, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		for _, inst := range instances(snap) {
			ids = append(ids, inst.ID+"\t"+inst.Service)
		}
		return nil
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func parseMetadata(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fail(codeUsage, "--metadata wants KEY=VALUE, such as weight=3", "--metadata %q has no key and value", pair)
		}
		if _, twice := m[k]; twice {
			return nil, fail(codeUsage, "give each key once", "--metadata %q is given twice", k)
		}
		m[k] = v
	}
	return m, nil
}

// instances returns every instance, by service and then by id.
func instances(snap *mesh.Snapshot) []*mesh.Instance {
	var out []*mesh.Instance
	for _, key := range slices.Sorted(maps.Keys(snap.Services)) {
		out = append(out, snap.Services[key]...)
	}
	return out
}

// must is for what can only fail by a mistake in this package.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
