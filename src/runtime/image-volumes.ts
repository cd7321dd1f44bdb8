/** Images as volumes: found before anything is made, mounted when the container is built. */
import { posix } from 'node:path';
import { RuntimeError, wrap } from '../core/errors.js';
import type { ImageRecord, MountedImage } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { ContainerRequest, MountRequest } from '../core/requests.js';
import { requireNoControl, requireRelativePath } from '../core/text.js';
import type { RuntimeContext } from './context.js';
import type { Sandbox } from './objects.js';
import { withUserNamespace } from './pod-user-namespace.js';

/** The image of each mount that has one. */
export type ImageVolumes = ReadonlyMap<MountRequest, ImageRecord>;

/** What KEP-4639 asks of such a mount: nothing of the host, and never to be written to. */
export function validateImageMount({ target, image, ...mount }: MountRequest): void {
  if (!image) return;
  const refuse = (why: string): RuntimeError =>
    new RuntimeError('invalid-argument', `mount ${target}: an image volume ${why}`);
  if (!mount.readonly) throw refuse('is read-only: set readonly');
  if (mount.source !== '') throw refuse('has no host_path: leave one of the two out');
  if (mount.propagation !== 'private') throw refuse('cannot propagate: use PROPAGATION_PRIVATE');
  requireNoControl(`image of mount ${target}`, image.name);
  requireRelativePath(`image_sub_path of mount ${target}`, image.subPath);
}

/** Throws for an image that is not here: the kubelet pulls it before it asks for the container. */
export function findImageVolumes(
  context: RuntimeContext,
  { mounts }: ContainerRequest,
): ImageVolumes {
  const found = new Map<MountRequest, ImageRecord>();
  for (const mount of mounts) {
    if (!mount.image) continue;
    const { name } = mount.image;
    const image = context.images.find(name);
    if (!image) {
      throw new RuntimeError(
        'image-volume-failed',
        `image ${JSON.stringify(name.slice(0, 300))} of mount ${mount.target} is not present: pull it first`,
      );
    }
    found.set(mount, image);
  }
  return found;
}

export function mountedImage(mount: MountRequest, volumes: ImageVolumes): MountedImage | null {
  const image = volumes.get(mount);
  return mount.image && image ? { ...mount.image, id: image.id } : null;
}

/** All or none. */
export async function mountImageVolumes(
  context: RuntimeContext,
  sandbox: Sandbox,
  volumes: ImageVolumes,
): Promise<Map<MountRequest, OwnedFd>> {
  const mounted = new Map<MountRequest, OwnedFd>();
  try {
    for (const [mount, image] of volumes) {
      const subPath = cleanSubPath(mount.image?.subPath ?? '');
      try {
        const fd = image.files
          ? await context.images.mountArtifact(image.id, subPath)
          : await withUserNamespace(context, sandbox, (options) =>
              context.rootfs.mountImage(image, subPath, options),
            );
        mounted.set(mount, fd);
      } catch (error) {
        const { message } = wrap(error, `cannot mount image ${image.id} at ${mount.target}`);
        throw new RuntimeError('image-volume-failed', message, error);
      }
    }
    return mounted;
  } catch (error) {
    for (const fd of mounted.values()) context.host.closeFd(fd);
    throw error;
  }
}

function cleanSubPath(path: string): string {
  const clean = posix.normalize(path).replace(/\/$/, '');
  return clean === '.' ? '' : clean;
}
