/** Root hook of the integration tier: says at once what would else fail in a hundred ways. */
export const mochaHooks = {
  beforeAll(): void {
    if (process.getuid?.() !== 0) {
      throw new Error('integration tests make namespaces, mounts and cgroups: run them as root');
    }
  },
};
