package cli

import "context"

func (a *App) runTransfer(ctx context.Context, t transferArgs) error         { return nil }
func (a *App) runFileTransfer(ctx context.Context, f fileTransferArgs) error { return nil }
func (a *App) runBalance(ctx context.Context, account string) error          { return nil }
func (a *App) runDatastore(ctx context.Context, d datastoreArgs) error       { return nil }
func (a *App) runExplain(ctx context.Context, id string) error               { return nil }
func (a *App) runStatus(ctx context.Context, s statusArgs) error             { return nil }
func (a *App) runResolve(ctx context.Context, id string) error               { return nil }
func (a *App) runCancel(ctx context.Context, id string) error                { return nil }
func (a *App) runInDoubt(ctx context.Context) error                          { return nil }
func (a *App) runCheck(ctx context.Context) error                            { return nil }
func (a *App) runPerformance(ctx context.Context, p performanceArgs) error   { return nil }
func (a *App) runConfig(ctx context.Context) error                           { return nil }
func (a *App) runVersion(ctx context.Context) error                          { return nil }
