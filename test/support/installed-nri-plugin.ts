/** An NRI plugin as a program: writes down what it is told in the file that its configuration names. */
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { NriPlugin } from './nri-plugin.js';

const socket = new Socket({ fd: Number(process.env['NRI_PLUGIN_SOCKET']) });
const note = (line: string): void => {
  appendFileSync(plugin.configuration.trim(), `${line}\n`);
};
const plugin = NriPlugin.over(socket, {
  before: ({ method }) => {
    note(method);
  },
});
socket.once('close', () => {
  note('closed');
  // One of them does not know when to go.
  if (process.argv[2] !== 'stay') process.exit(0);
  setInterval(() => undefined, 1000);
});
await plugin.register('99-whatever');
await plugin.until(() => plugin.configuration !== '', 'configured');
note(`${process.env['NRI_PLUGIN_IDX']}-${process.env['NRI_PLUGIN_NAME']} ${process.pid}`);
