package main

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

func measureSDKRolling(ctx context.Context, r *report) error {
	n, dir, err := r.up(ctx)
	if err != nil {
		return err
	}
	defer n.Kill()
	procs, err := threeHellos(ctx, r, dir)
	defer func() { killAll(procs) }()
	if err != nil {
		return err
	}
	client, err := clientOf(n)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	// No POST is sent twice: only an instance that is drained loses none.
	ways := []string{"GETs through the gateway", "POSTs through the gateway", "GETs through toska.Client", "POSTs through toska.Client"}
	loads := []*load{
		startLoad(ctx, helloURL(n), loadRate/2), startLoadOf(ctx, http.MethodPost, helloURL(n), loadRate/2),
		startLoadBy(ctx, client.HTTP(), http.MethodGet, helloByName, loadRate/2),
		startLoadBy(ctx, client.HTTP(), http.MethodPost, helloByName, loadRate/2),
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	var stopped []float64
	for i, p := range procs {
		begin := time.Now()
		if err := p.StopBy(syscall.SIGTERM, 15*time.Second); err != nil {
			return fmt.Errorf("stop service %d: %w\n%s", i, err, p.Output())
		}
		stopped = append(stopped, millis(time.Since(begin)))
		if procs[i], err = runHello(ctx, r, dir); err != nil {
			return err
		}
		if err := allAlive(ctx, r, dir, len(procs)); err != nil {
			return err
		}
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	r.note("SIGTERM to gone: %.0f ms each", median(stopped))
	for i, l := range loads {
		r.failedOf(l.end(), fmt.Sprintf("%s at %d/s", ways[i], loadRate/2), 0)
	}
	return nil
}
