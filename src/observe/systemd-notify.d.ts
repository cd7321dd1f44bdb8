/** Types of the npm package systemd-notify 1.0.0, which brings none. */
declare module 'systemd-notify' {
  /** Spawns `systemd-notify`; rejects with an Error when it cannot run, with its stderr when it fails. */
  export default function systemdNotify(options: {
    ready?: boolean;
    status?: string;
    pid?: number;
    booted?: boolean;
  }): Promise<unknown>;
}
