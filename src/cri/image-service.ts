/** The ImageService RPCs: conversion in, the image store, conversion out. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeError } from '../core/errors.js';
import { parseImageUser } from '../core/image-user.js';
import type { ImageRecord } from '../core/model.js';
import type { RegistryAuth } from '../core/ports/images.js';
import type { RuntimeContext } from '../runtime/context.js';
import { removeImage } from '../runtime/image-remove.js';
import type { AuthConfig, Image, ImageSpec } from './gen/image.js';
import type * as wire from './gen/image_service.js';
import { unary, type Gate, type Handler } from './unary.js';

export function imageService(context: RuntimeContext, gate: Gate): UntypedServiceImplementation {
  const rpc = <Req, Res>(name: string, handler: Handler<Req, Res>) => unary(gate, name, handler);
  return {
    listImages: rpc('ListImages', ({ filter }: wire.ListImagesRequest) => {
      const wanted = filter?.image?.image ?? '';
      const found = wanted === '' ? context.images.list() : [context.images.find(wanted)];
      return { images: found.flatMap((image) => (image ? [toImage(image)] : [])) };
    }),
    imageStatus: rpc('ImageStatus', async ({ image, verbose }: wire.ImageStatusRequest) => {
      const found = context.images.find(reference('ImageStatus', image));
      // An absent image is an answer without an image, not an error (CRI, ImageStatus).
      const response: wire.ImageStatusResponse = {
        image: found && toImage(found),
        info: new Map(verbose && found ? [['info', await describe(context, found)]] : []),
      };
      return response;
    }),
    pullImage: rpc('PullImage', async ({ image, auth }: wire.PullImageRequest) => {
      // Not tied to the call: a pull goes on when its caller gave up, and the repeat joins it.
      const pulled = await context.images.pull(
        reference('PullImage', image),
        auth ? toAuth(auth) : null,
        {},
      );
      return { imageRef: pulled.id };
    }),
    removeImage: rpc('RemoveImage', async ({ image }: wire.RemoveImageRequest) => {
      await removeImage(context, reference('RemoveImage', image));
      return {};
    }),
    imageFsInfo: rpc('ImageFsInfo', async () => {
      const usage = await context.images.usage();
      const filesystem = {
        timestamp: usage.timestamp,
        fsId: { mountpoint: usage.mountpoint },
        usedBytes: { value: BigInt(usage.usedBytes) },
        inodesUsed: { value: BigInt(usage.inodesUsed) },
      };
      return { imageFilesystems: [filesystem], containerFilesystems: [filesystem] };
    }),
  };
}

function reference(rpc: string, spec: ImageSpec | undefined): string {
  if (spec && spec.image !== '') return spec.image;
  throw new RuntimeError('invalid-argument', `${rpc}: image is empty: name one`);
}

/** The record, and what manifest and config say beside it. */
async function describe(context: RuntimeContext, image: ImageRecord): Promise<string> {
  return JSON.stringify({ ...image, ...(await context.images.details(image.id)) });
}

function toImage(image: ImageRecord): Image {
  return {
    id: image.id,
    repoTags: image.repoTags,
    repoDigests: image.repoDigests,
    size: BigInt(image.size),
    ...imageIdentity(image.config.user),
    spec: undefined,
    pinned: false,
  };
}

/** The kubelet's runAsNonRoot check stands on these two. */
function imageIdentity(user: string): Pick<Image, 'uid' | 'username'> {
  try {
    const parsed = parseImageUser(user);
    if (parsed.kind === 'id') return { uid: { value: BigInt(parsed.uid) }, username: '' };
    return { uid: undefined, username: parsed.name };
  } catch {
    // No container can be made from it; until then it is told as it is.
    return { uid: undefined, username: user };
  }
}

function toAuth(wireAuth: AuthConfig): RegistryAuth {
  return {
    username: wireAuth.username,
    password: wireAuth.password,
    auth: wireAuth.auth,
    serverAddress: wireAuth.serverAddress,
    identityToken: wireAuth.identityToken,
    registryToken: wireAuth.registryToken,
  };
}
